"""What a forward pass keeps for the backward pass.

The method of Korthikanti et al. 2022 (arXiv:2205.05198, section 4.1), who sum up what each operation of a layer keeps;
the sums here are those of transformers' own layers with torch's fused attention, which keeps its inputs, its output
and one number per row instead of the matrix of scores (Dao et al. 2022, arXiv:2205.14135). The unit tests count what
autograd really keeps, for every family.
"""

from dataclasses import dataclass

from kubetune_api.families import FAMILIES
from kubetune_planner.shape import ModelShape

_FLOAT32 = 4
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

    def peak_bytes(self, *, kept_layers: int, language_model: bool) -> int:
        """Bytes at the turn from forward to backward: all that was kept, and then either the logits and their loss or,
        where there are none to speak of, the gradients inside the topmost layer."""
        turn = _logits(self.shape, self.number) if language_model else 0
        at_the_turn = max(turn, _working_set(self.shape, self.number))
        return self.kept_bytes(kept_layers) + self.rows * self.length * at_the_turn

    def kept_bytes(self, layers: int) -> int:
        """Bytes that so many layers and what is around them keep for the backward pass."""
        per_token = layers * _layer(self.shape, self.length, self.number) + _ends(self.shape, self.number)
        return self.rows * self.length * per_token


def _layer(shape: ModelShape, length: int, number: int) -> int:
    """Bytes that one layer keeps for one token."""
    # Queries, keys and values (keys and values repeated for each head), the output; a number per head; the mask, of
    # which every layer makes its own.
    attention = 4 * shape.heads * shape.head_size * number + shape.heads * _FLOAT32 + length * number
    masks_of_dropout = FAMILIES[shape.family].dropouts * shape.hidden if shape.dropout else 0
    return attention + 2 * _norm(shape, number) + _copies(shape) * shape.intermediate * number + masks_of_dropout


def _norm(shape: ModelShape, number: int) -> int:
    """A norm's input and output. Llama's computes in 32 bits and keeps its result before and after the weight."""
    if FAMILIES[shape.family].gated:
        return shape.hidden * (_FLOAT32 + 2 * number)
    return shape.hidden * 2 * number


def _ends(shape: ModelShape, number: int) -> int:
    """The last norm; for encoders, the norm of the embeddings and the last layer's output are as much."""
    return _norm(shape, number)


def _copies(shape: ModelShape) -> int:
    copies = _COPIES.get(shape.activation, _DEFAULT_COPIES)
    # A gate, its function, what it is multiplied with, and the product.
    return copies + 2 if FAMILIES[shape.family].gated else copies


def _working_set(shape: ModelShape, number: int) -> int:
    """Gradients inside a layer: one as wide as the model and one or two as wide as the feed-forward part."""
    return number * (shape.hidden + (2 if FAMILIES[shape.family].gated else 1) * shape.intermediate)


def _logits(shape: ModelShape, number: int) -> int:
    """For each word of the vocabulary: the logits, the same in 32 bits, put in order, and their log-softmax.

    Its backward pass needs no more: the log-softmax, the gradient, and that of the logits.
    """
    in_32_bits = 2 if number == _FLOAT32 else 3
    return shape.vocabulary * (number + in_32_bits * _FLOAT32)
