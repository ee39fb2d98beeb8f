"""What a forward pass keeps for the backward pass.

The method of Korthikanti et al. 2022 (arXiv:2205.05198, section 4.1), who sum up what each operation of a layer keeps;
the sums here are those of transformers' own layers with torch's fused attention, which keeps its inputs, its output
and one number per row instead of the matrix of scores (Dao et al. 2022, arXiv:2205.14135). The unit tests count what
autograd really keeps, for every family.

With activation checkpointing (Chen et al. 2016, arXiv:1604.06174) a layer keeps its input alone, h numbers for each
token (2h bytes in 16 bits, as in arXiv:2205.05198, section 5), and one layer at a time keeps the rest while it is
computed again.
"""

from dataclasses import dataclass

from kubetune_api.families import FAMILIES
from kubetune_planner.logits import AT_A_TIME
from kubetune_planner.shape import ModelShape

FLOAT32 = 4
"""Bytes."""
_INDEX = 8
_INDICES_OF_EXPERT = 5
"""Of a token and its expert."""
_DEFAULT_COPIES = 2
_COPIES = {"gelu_new": 5, "relu": 1}
"""Tensors as wide as the feed-forward part that its function leaves behind, the next matrix's input among them.
GPT-2's `gelu_new` is written out in single operations, each of which keeps its input."""


@dataclass(frozen=True)
class Passes:
    """Passes over `rows` sequences of `length` tokens, in numbers of `number` bytes."""

    shape: ModelShape
    rows: int
    length: int
    number: int
    smoothed: bool = False
    """Whether the loss spreads a share of each target over all choices."""
    again: bool = False
    """Whether layers keep their inputs alone, and are computed again in the backward pass."""
    joined: bool = False
    """Whether rows lie one behind another: there is no mask, and attention puts its output together from that of each
    row, which keeps it once more (torch's kernel for GPUs does not, and is counted alike)."""

    @property
    def tokens(self) -> int:
        """Of all rows together."""
        return self.rows * self.length

    def peak_bytes(self, *, kept_layers: int, language_model: bool) -> int:
        """Bytes at the turn from forward to backward: all that was kept, and then either the logits and their loss or,
        where there are none to speak of, the gradients inside the topmost layer."""
        turn = turn_bytes(self.shape, self.tokens, self.number, smoothed=self.smoothed) if language_model else 0
        inside = self.tokens * working_set(self.shape, self.length, self.number)
        if not self.again:
            return self.kept_bytes(kept_layers) + max(turn, inside)
        inputs = kept_layers * self.tokens * self.shape.hidden * self.number
        # The layer that is computed again finds the logits gone.
        return inputs + self.kept_bytes(0) + max(turn, inside + self.kept_bytes(1) - self.kept_bytes(0))

    def kept_bytes(self, layers: int) -> int:
        """Bytes that so many layers and what is around them keep for the backward pass."""
        shape, number = self.shape, self.number
        mask = 0 if FAMILIES[shape.family].eager else (shape.query_width if self.joined else self.length) * number
        per_token = layers * (_layer(shape, self.length, number) + mask) + _ends(shape, number)
        lookups = shape.relative.lookups * shape.hidden * number
        # Where the distance of two words is looked up, in each layer or once for all.
        distances = layers * shape.relative.kinds + (FAMILIES[shape.family].relative == "Buckets")
        return self.rows * (self.length * per_token + layers * lookups) + distances * self.length**2 * _INDEX


def _layer(shape: ModelShape, length: int, number: int) -> int:
    """Bytes that one layer keeps for one token, the mask aside, of which every layer makes its own."""
    family = FAMILIES[shape.family]
    norms = family.norms * _norm(shape, shape.hidden, number)
    if family.query_norms != "None":
        norms += _norm(shape, shape.query_width + shape.key_width, number)
    masks_of_dropout = family.dropouts * shape.hidden if shape.dropout else 0
    # What the norms make is the input of attention and of the feed-forward part; both norms may have the same input.
    inputs = (1 if shape.parallel else 2) * shape.hidden * number
    scores = _scores(shape, length, number)
    return _attention(shape, number) + scores + norms + inputs + _feed_forward(shape, number) + masks_of_dropout


def _attention(shape: ModelShape, number: int) -> int:
    """Queries, keys and values (keys and values repeated for each head), and the output."""
    family, kept = FAMILIES[shape.family], 4
    if family.fused_queries and shape.heads == shape.kv_heads:
        # Values that are not repeated keep the whole matrix.
        kept += 2
    if family.partial_rotary:
        kept += 1
    if family.relative == "Disentangled":
        # The keys once more, scaled.
        kept += 1
    return kept * shape.query_width * number


def _scores(shape: ModelShape, length: int, number: int) -> int:
    family = FAMILIES[shape.family]
    if family.eager:
        mask = length if shape.relative.kinds else 0
        # The scores of all distances, of which each pair of words takes one.
        distances = shape.heads * shape.relative.lookups * number
        return shape.heads * length * _per_score(shape, number) + distances + mask
    # Fused: a number per head.
    return shape.heads * FLOAT32


def _per_score(shape: ModelShape, number: int) -> int:
    """Bytes that one score of one head leaves: the softmax; of Llama's kin in 32 bits and in the model's, and before
    it the tangent that bounds it. Dropout leaves a mask and a copy."""
    kept = number
    if FAMILIES[shape.family].gated and number != FLOAT32:
        kept += FLOAT32
    if shape.bounded_scores:
        kept += number
    return kept + (number + 1 if shape.dropout else 0)


def _norm(shape: ModelShape, width: int, number: int) -> int:
    """What a norm keeps, its output aside: its input. Llama's computes in 32 bits and keeps its result before the
    weight too, which some apply in 32 bits as well."""
    family = FAMILIES[shape.family]
    if family.wide_norms:
        return width * 2 * FLOAT32
    return width * (FLOAT32 + number if family.gated and not family.plain_norms else number)


def _feed_forward(shape: ModelShape, number: int) -> int:
    """What the function and its gate keep; for each expert also what it reads and writes, and where."""
    per_expert = _copies(shape) * shape.intermediate * number
    if FAMILIES[shape.family].experts is None:
        return per_expert
    router = shape.experts * FLOAT32 + shape.active_experts * _INDICES_OF_EXPERT * _INDEX
    return shape.active_experts * (per_expert + 2 * shape.hidden * number) + router


def _ends(shape: ModelShape, number: int) -> int:
    """The last norm; for encoders, the norm of the embeddings and the last layer's output are as much."""
    return _norm(shape, shape.hidden, number) + shape.hidden * number


def _copies(shape: ModelShape) -> int:
    return copies_in_between(shape.activation, gated=FAMILIES[shape.family].gated)


def copies_in_between(activation: str, *, gated: bool) -> int:
    """Tensors as wide as the feed-forward part that it keeps."""
    copies = _COPIES.get(activation, _DEFAULT_COPIES)
    # A gate, its function, what it is multiplied with, and the product.
    return copies + 2 if gated else copies


def working_set(shape: ModelShape, length: int, number: int) -> int:
    """Gradients inside a layer: one as wide as the model and one or two as wide as the feed-forward part; or two of
    the scores."""
    family = FAMILIES[shape.family]
    feed_forward = shape.active_experts * number * (2 if family.gated else 1) * shape.intermediate
    scores = 2 * FLOAT32 * shape.heads * length if family.eager else 0
    return number * shape.hidden + max(feed_forward, scores)


def turn_bytes(
    shape: ModelShape, tokens: int, number: int, *, smoothed: bool = False, at_a_time: int = AT_A_TIME
) -> int:
    """Bytes of the logits and their loss, of so many tokens. Where they would be more than `at_a_time`, they are worked
    out in chunks, each computed again in the backward pass: the states that they follow from are copied, and have a
    gradient."""
    each = logits(shape, number, smoothed=smoothed)
    if tokens * shape.vocabulary <= at_a_time:
        return tokens * each
    return max(1, at_a_time // shape.vocabulary) * each + 2 * tokens * shape.hidden * number


def logits(shape: ModelShape, number: int, *, smoothed: bool = False) -> int:
    """For each word of the vocabulary: the logits, the same in 32 bits, put in order, and their log-softmax; where
    they are bounded, the tangent too.

    Its backward pass needs no more: the log-softmax, the gradient, and that of the logits. Smoothed labels have two
    more gradients in 32 bits, of the sum of all exponentials and of the mean, while the others still are there.
    """
    in_32_bits = 2 if number == FLOAT32 else 3
    per_logit = (2 if shape.bounded_logits else 1) * number
    smoothing = 2 * FLOAT32 + number if smoothed else 0
    return shape.vocabulary * (per_logit + in_32_bits * FLOAT32 + smoothing)
