"""What a training computes, and how long accelerators take for it.

Each parameter that a token meets costs two operations forward, two where gradients pass it, and two where it learns
itself: 6·N where everything is trained (Kaplan et al. 2020, arXiv:2001.08361, section 2.1), 4·N for adapters. The
attention's scores, norms and functions are left out: they are little but for long texts.
"""

from dataclasses import dataclass

from kubetune_api.accelerators import AcceleratorRow
from kubetune_api.job import FineTuneJobSpec
from kubetune_api.text import count, plural
from kubetune_planner.encoder_decoder import EncoderDecoderShape
from kubetune_planner.memory import labels_of
from kubetune_planner.methods import METHODS, TrainedPart
from kubetune_planner.passes import sequence_length, target_length
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision

USED = 0.40
"""The share of the peak that is used, unless said otherwise. MosaicML measured 35 to 46 % on H100 for models of 0.76 to
70 billion parameters at 512 to 4,096 tokens (github.com/mosaicml/llm-foundry, scripts/train/benchmarking)."""
_SECONDS = 3600
_TERA = 1e12


@dataclass(frozen=True)
class Work:
    """The parameters that one token meets."""

    forward: int
    backward: int
    """Those that gradients pass."""
    learning: int
    """Those that learn, no more than gradients pass."""

    @property
    def operations(self) -> int:
        """Additions and multiplications for one token."""
        return 2 * (self.forward + self.backward + self.learning)

    def hours(self, tokens: int, accelerator: AcceleratorRow, precision: Precision, used: float = USED) -> float | None:
        """Hours of one accelerator for so many tokens; None where it does not compute in that precision."""
        peak = accelerator.peak(precision)
        return None if peak is None else tokens * self.operations / (peak * _TERA * used) / _SECONDS


def work_of(shape: ModelShape, spec: FineTuneJobSpec) -> Work:
    """The work of a job for each token. The vectors of the vocabulary are looked up, which costs nothing."""
    labels = labels_of(spec)
    trained = METHODS[spec.method.type](spec.method, shape, labels)
    if isinstance(shape, EncoderDecoderShape):
        return _of_both(shape, trained, sequence_length(shape, spec), target_length(shape, spec))
    layer = shape.active_layer_parameters
    output = shape.embedding_matrix if labels is None else 0
    backward = trained.kept_layers * layer + output
    return Work(shape.layers * layer + output, backward, min(backward, trained.parameters))


def _of_both(shape: EncoderDecoderShape, trained: TrainedPart, source: int, target: int) -> Work:
    """The mean over the tokens of a row: those of the source meet the encoder, and the keys and values that the decoder
    makes of them; those of the target the rest of the decoder and the output layer."""
    written = target * (shape.decoder_layers * shape.writing_parameters + shape.embedding_matrix)

    def met(encoder_layers: int) -> int:
        read = encoder_layers * shape.layer_parameters + shape.decoder_layers * shape.looked_up_parameters
        return round((source * read + written) / (source + target))

    backward = met(trained.kept_layers)
    return Work(met(shape.layers), backward, min(backward, trained.parameters))


@dataclass(frozen=True)
class Tokens:
    """How many tokens a training sees."""

    number: int
    said: str
    """How that came about, in words."""


def tokens_of(spec: FineTuneJobSpec, shape: ModelShape, *, tokens: int | None, rows: int | None) -> Tokens | None:
    """The tokens of all passes, from those of one pass or from its rows, each as long as all its sequences, targets
    included; None where neither is known, and no step ends the training."""
    length, parts, training = sequence_length(shape, spec), spec.sequences_per_row, spec.training
    target = target_length(shape, spec)
    of_row = parts * length + target
    long = f"{count(length)} tokens" if parts == 1 else f"{parts} sequences · {count(length)} tokens"
    if target:
        long = f"({count(length)} + {count(target)}) tokens"
    steps = training.max_steps
    passes = plural(training.epochs, "epoch")
    found = []
    if tokens is not None:
        found.append(Tokens(tokens * training.epochs, f"{count(tokens)} tokens · {passes}"))
    elif rows is not None:
        said = f"at most {count(rows)} rows · {long} · {passes}"
        found.append(Tokens(rows * of_row * training.epochs, said))
    if steps is not None:
        batch = training.global_batch_size
        said = f"at most {plural(steps, 'step')} · {count(batch)} rows · {long}"
        found.append(Tokens(steps * batch * of_row, said))
    return min(found, key=lambda each: each.number, default=None)
