"""Seq2Seq: an encoder reads the source, and a decoder learns to write the target. Each token of it is a target."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.encode import encode_texts
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.split import folded
from kubetune_trainer.data.tokens import Encoded, Tokens
from kubetune_trainer.data.values import text_of
from kubetune_trainer.errors import invalid_model
from kubetune_trainer.model.languages import target_language
from kubetune_trainer.records import Answer, DataReport, EvaluationRecord
from kubetune_trainer.tasks.base import IGNORED, CardText, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.choice_losses import PLAIN, ChoiceLoss
from kubetune_trainer.tasks.targets import in_lines
from kubetune_trainer.tasks.token_losses import measured_tokens, token_losses, token_tally

_ANSWERS, _LONGEST_SOURCE = 3, 512
"""How many answers the published model is asked for, and the tokens of the longest source: there is no GPU there."""


@dataclass(frozen=True)
class WrittenTexts:
    """Whatever the model's tokens can spell, up to a length."""

    longest: int
    """The longest target, in tokens."""
    labels: tuple[str, ...] = ()
    loss: ChoiceLoss = PLAIN


@dataclass(frozen=True)
class SequenceTargets:
    """A sequence of its own for each row."""

    tokens: NDArray[np.int32]
    """[tokens]: those of row i are `tokens[offsets[i]:offsets[i + 1]]`; the last one of each ends it, but for those
    behind it."""
    offsets: NDArray[np.int64]
    """[rows + 1]."""
    behind: int = 0
    """Tokens of each target that are learned behind the one that ends it, and that no answer has: mBART's language."""

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`."""
        return np.diff(self.offsets)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """[rows, longest target]: the token ids, whatever the length of the sources."""
        found = [self.of(int(row)) for row in rows]
        return in_lines(found, max(map(len, found)))

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> NDArray[np.int32]:
        """All of them."""
        return self.of(row)

    def of(self, row: int) -> NDArray[np.int32]:
        """The target of a row."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]


class Writing:
    """How the model generates; see `Generation`."""

    def stop_tokens(self, tokenizer: Any, pretrained: Sequence[int], space: WrittenTexts) -> Sequence[int]:
        """Behind a target, and wherever the pretrained model stops."""
        return [*dict.fromkeys([tokenizer.eos_token_id, *pretrained])]

    def answers(self, split: EncodedSplit, tokenizer: Any) -> Sequence[Answer]:
        """The shortest targets of sources that are not long."""
        asked = (self.asked(split, row) for row in np.argsort(split.targets.per_row(split), kind="stable"))
        return [*islice((answer for answer in asked if len(answer.prompt) <= _LONGEST_SOURCE), _ANSWERS)]

    def asked(self, split: EncodedSplit, row: int) -> Answer:
        """See `Generation`."""
        assert isinstance(split.targets, SequenceTargets)
        source = split.tokens[split.offsets[row] : split.offsets[row + 1]].tolist()
        target = split.targets.of(row).tolist()
        return Answer(source, target[: len(target) - split.targets.behind])


class SequenceToSequence:
    """See the module, and `TrainingTask` for each method."""

    name = "Seq2Seq"
    new_head = False
    generation = Writing()

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """A source and its target."""
        source, target = Column.of(spec, "source"), Column.of(spec, "target")
        return (Field("source", source, text_of), Field("target", target, text_of, measured=True))

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> WrittenTexts:
        """Any text can be learned."""
        return WrittenTexts(spec.task.longest_target, loss=ChoiceLoss(spec.training.label_smoothing))

    def group(self, row: Row) -> str:
        """The source: no target is tested on a source that training has seen."""
        return folded(row["source"])

    def stratum(self, row: Row) -> None:
        """There is nothing to share out."""

    def refuse_untaught(self, spec: FineTuneJobSpec, space: WrittenTexts, training: Sequence[Row]) -> None:
        """Whatever is there teaches."""

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """A text is a text."""
        return iter(())

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: WrittenTexts) -> Encoded:
        """Sources with the special tokens that the model expects, targets with the one that ends them."""
        sources = encode_texts(rows, tokenizer, max_length, field="source")
        targets, behind = _ended(rows, tokenizer, space.longest)
        if not (sources.kept & targets.kept).all():
            # A text of characters that the tokenizer drops.
            kept = sources.kept & targets.kept
            left = self.encode([*compress(rows, kept)], tokenizer, max_length, space)
            return replace(left, sources=np.flatnonzero(kept))
        notes = (_CUT.format(targets.truncated, len(rows), space.longest),) if targets.truncated else ()
        return sources.with_targets(SequenceTargets(targets.tokens, targets.offsets, behind), notes=notes)

    def model_class(self) -> Any:
        """With the pretrained output layer."""
        from transformers import AutoModelForSeq2SeqLM

        return AutoModelForSeq2SeqLM

    def configure(self, config: Any, space: WrittenTexts) -> None:
        """A decoder begins with the padding token where nothing else is said, as T5 does."""
        limit = getattr(config, "max_position_embeddings", None)
        if limit is not None and space.longest > limit:
            raise invalid_model(
                f"spec.task.seq2Seq.maxTargetLength: {space.longest} tokens are more than the {limit:,} that the model"
                " can write; lower it"
            )
        if getattr(config, "decoder_start_token_id", None) is None:
            config.decoder_start_token_id = config.pad_token_id

    def fits_head(self, config: Any, space: WrittenTexts) -> bool:
        """The output layer is always trained further."""
        return True

    def losses(self, forward: Forward, batch: MicroBatch, space: WrittenTexts) -> Losses:
        """The cross-entropy of each token of the target, given the source and the tokens before it."""
        # mBART looks for the last token of each target, which the row of a rank without any does not have.
        nothing = (batch.targets == IGNORED).all(dim=1, keepdim=True)
        # An engine has a `config` of its own.
        model: Any = getattr(forward, "module", forward)
        no_padding = int(model.config.pad_token_id == 0)
        written = batch.targets.masked_fill(nothing, no_padding)
        shifted = forward.prepare_decoder_input_ids_from_labels(written)  # type: ignore[attr-defined]
        inputs = {**batch.inputs, "decoder_input_ids": shifted, "use_cache": False}
        trained, plain = token_losses(forward, inputs, batch.targets, space.loss)
        return Losses(trained, trained.new_empty(len(trained), 0), plain)

    def tally(self, losses: Losses, batch: MicroBatch, space: WrittenTexts) -> Tally:
        """The loss and the number of tokens that it is of."""
        return token_tally(losses, batch)

    def measure(self, tally: dict[str, NDArray[np.float64]], space: WrittenTexts) -> Measured:
        """The mean loss per token, in nats, and its exponential."""
        return measured_tokens(tally)

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """The metrics speak for themselves."""
        return []

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """None of its own."""
        return iter(())

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """How to ask the model."""
        return CardText("A model that writes a target to a source", _LIMITS, _CLASS, _USAGE)


def _ended(rows: Sequence[Row], tokenizer: Any, longest: int) -> tuple[Tokens, int]:
    """The targets, each with the token that ends it, and how many tokens are behind that."""
    end = _end_of(tokenizer)
    tokens = tokenizer(text_target="a")["input_ids"]
    if tokens[-1:] == [end] or target_language(tokenizer) is not None:
        return encode_texts(rows, tokenizer, longest, field="target", written=True), tokens[::-1].index(end)
    return encode_texts(rows, tokenizer, longest - 1, field="target", written=True).ended(end), 0


def _end_of(tokenizer: Any) -> int:
    if tokenizer.eos_token_id is None:
        raise invalid_model(
            "spec.model.uri: the tokenizer has no end-of-sequence token, so no target would end; choose a model that"
            " has one"
        )
    return int(tokenizer.eos_token_id)


_CUT = (
    "{:,} of {:,} targets of the training data are longer than {:,} tokens and are cut, so the model learns to end as"
    " they do; raise spec.task.seq2Seq.maxTargetLength"
)
_CLASS = "AutoModelForSeq2SeqLM"
_LIMITS = """\
The model writes targets to sources like those in its training data. What it writes may be wrong, and it may repeat
anything in the training data, including private content."""
_USAGE = """
inputs = tokenizer("A source.", return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=128, do_sample=False)
print(tokenizer.decode(answer[0], skip_special_tokens=True))
"""
