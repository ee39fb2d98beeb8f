"""What a forward pass of a job keeps for the backward pass, by the kind of its model.

The method is that of `activations.py`. A model of an encoder and a decoder keeps both stacks: the decoder's layers look
at the target so far and, once more, at the source.
"""

from dataclasses import dataclass, replace

from kubetune_api.families import FAMILIES, EncoderDecoder
from kubetune_api.job import FineTuneJobSpec
from kubetune_planner.activations import FLOAT32, Passes, copies_in_between, turn_bytes, working_set
from kubetune_planner.encoder_decoder import EncoderDecoderShape
from kubetune_planner.shape import ModelShape


@dataclass(frozen=True)
class PairPasses:
    """Passes over `rows` sources of `source` tokens and their targets of `target`, in numbers of `number` bytes."""

    shape: EncoderDecoderShape
    rows: int
    source: int
    target: int
    number: int
    smoothed: bool = False
    """As of `Passes`."""
    again: bool = False
    """As of `Passes`."""

    @property
    def tokens(self) -> int:
        """Of all rows together, that the layers of either stack see at most."""
        return self.rows * max(self.source, self.target)

    def peak_bytes(self, *, kept_layers: int, language_model: bool) -> int:
        """As `Passes.peak_bytes`; `kept_layers` are the encoder's.

        A frozen layer of the decoder keeps its activations all the same: the encoder's gradients go through it.
        """
        written = self.rows * self.target
        turn = turn_bytes(self.shape, written, self.number, smoothed=self.smoothed) if language_model else 0
        longest = max(self.source, self.target)
        inside = longest * working_set(self.shape, longest, self.number)
        if not self.again:
            return self.kept_bytes(kept_layers) + max(turn, self.rows * inside)
        tokens = kept_layers * self.source + self.shape.decoder_layers * self.target
        inputs = tokens * self.shape.hidden * self.number + self._distances
        largest = max(self._of_encoder_layer, self._of_decoder_layer)
        return self.rows * (inputs + self._ends()) + max(turn, self.rows * (inside + largest))

    def kept_bytes(self, layers: int) -> int:
        """Bytes that so many layers of the encoder, the decoder and what is around them keep."""
        kept = layers * self._of_encoder_layer + self.shape.decoder_layers * self._of_decoder_layer
        return self.rows * (kept + self._ends())

    @property
    def _of_encoder_layer(self) -> int:
        return self.source * self._parts(2, self.shape.intermediate) + self._looks(self.source)

    @property
    def _of_decoder_layer(self) -> int:
        parts = self.target * self._parts(3, self.shape.decoder_intermediate)
        return parts + self._looks(self.target, masked=False) + self._looks_at_the_source()

    @property
    def _distances(self) -> int:
        """The numbers that stand for distances: the first layer of a stack makes them, the others have them as an
        input."""
        squares = self.source**2 + self.target**2 if self._design.relative else 0
        return self.shape.heads * squares * self.number

    @property
    def _width(self) -> int:
        return self.shape.heads * self.shape.head_size

    @property
    def _design(self) -> EncoderDecoder:
        design = FAMILIES[self.shape.family].encoder_decoder
        assert design is not None
        return design

    def _looks(self, length: int, *, masked: bool = True) -> int:
        """A stack's attention to itself."""
        if self._design.relative:
            # Distances that learn keep attention from being fused: queries, keys, values and scores stand in 32 bits.
            scores = self.shape.heads * length * FLOAT32
            return length * (self._width * (3 * FLOAT32 + self.number) + scores)
        mask = length * self.number if masked else 0
        return length * (4 * self._width * self.number + self.shape.heads * FLOAT32 + mask)

    def _looks_at_the_source(self) -> int:
        """Queries and the output for each token of the target; keys and values for each of the source; the mask."""
        masks = self.shape.heads if self._design.relative else 1
        of_target = 2 * self._width * self.number + self.shape.heads * FLOAT32 + masks * self.source * self.number
        return self.target * of_target + self.source * 2 * self._width * self.number

    def _norms(self, count: int) -> int:
        """Norms over one token. T5's keep their input, also in 32 bits, and the result before and after the weight."""
        if not self._design.relative:
            return count * 2 * self.shape.hidden * self.number
        in_32_bits = 0 if self.number == FLOAT32 else FLOAT32
        return count * self.shape.hidden * (3 * self.number + in_32_bits)

    def _parts(self, count: int, intermediate: int) -> int:
        """What a layer of so many parts, each with a norm and a dropout, keeps for a token, attention aside."""
        copies = copies_in_between(self.shape.activation, gated=self.shape.gated)
        masks = count * self.shape.hidden if self.shape.dropout else 0
        return self._norms(count) + copies * intermediate * self.number + masks

    def _ends(self) -> int:
        norms = self._design.embedding_norm + self._design.last_norm
        return (self.source + self.target) * self._norms(norms)


def passes_of(shape: ModelShape, spec: FineTuneJobSpec, rows: int, number: int) -> Passes | PairPasses:
    """The passes over rows as long as the job allows, with the dropout that it sets."""
    if spec.training.dropout is not None:
        shape = replace(shape, dropout=spec.training.dropout)
    length, smoothed = sequence_length(shape, spec), spec.training.label_smoothing > 0
    again = spec.training.activation_checkpointing == "Full"
    if isinstance(shape, EncoderDecoderShape):
        return PairPasses(shape, rows, length, target_length(shape, spec), number, smoothed, again)
    joined = FAMILIES[shape.family].joins_rows
    return Passes(shape, rows * spec.sequences_per_row, length, number, smoothed, again, joined)


def target_length(shape: ModelShape, spec: FineTuneJobSpec) -> int:
    """The longest target, in tokens, of a model whose decoder reads an encoder; 0 of any other."""
    return min(spec.task.longest_target, shape.positions) if isinstance(shape, EncoderDecoderShape) else 0


def sequence_length(shape: ModelShape, spec: FineTuneJobSpec) -> int:
    """The longest sequence, in tokens: what the job allows or the model can, whichever is less."""
    return min(spec.max_length, shape.positions)
