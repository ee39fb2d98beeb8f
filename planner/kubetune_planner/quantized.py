"""What quantized weights take: the frozen linear layers of a model beside an adapter, in 4 or 8 bits."""

from collections.abc import Callable, Mapping
from math import ceil

from kubetune_api.job import Method, Quantization
from kubetune_planner.shape import ModelShape

_BLOCK = 64
"""Numbers of NF4 that have a constant in common."""
_BLOCK_OF_CONSTANTS = 256


def _nf4(inputs: int, outputs: int, quantization: Quantization) -> int:
    """QLoRA (arXiv:2305.14314): half a byte for each number, and 4 bytes for a block, or 1 and 4 for 256 blocks."""
    numbers = inputs * outputs
    blocks = ceil(numbers / _BLOCK)
    constants = blocks + 4 * ceil(blocks / _BLOCK_OF_CONSTANTS) if quantization.double_quantization else 4 * blocks
    return ceil(numbers / 2) + constants


def _int8(inputs: int, outputs: int, _quantization: Quantization) -> int:
    """LLM.int8 (arXiv:2208.07339): a byte for each number, and 4 for each row."""
    return inputs * outputs + 4 * outputs


BYTES: Mapping[str, Callable[[int, int, Quantization], int]] = {"NF4": _nf4, "Int8": _int8}
"""By `spec.method.quantization.type`: the bytes of a matrix of so many inputs and outputs."""


def saved_bytes(method: Method, shape: ModelShape, number: int) -> int:
    """By how much less the weights are than with `number` bytes for each parameter.

    All linear layers are stored in fewer bits, whichever are adapted; one of them at a time has `number` bytes again,
    as it is multiplied.
    """
    if method.quantization is None:
        return 0
    widened = ((shape.embedding, shape.hidden),) if shape.embedding != shape.hidden else ()
    matrices = (*shape.adapted_matrices(everywhere=True), *widened)
    size = BYTES[method.quantization.type]
    stored = sum(size(inputs, outputs, method.quantization) for inputs, outputs in matrices)
    numbers: list[int] = [inputs * outputs for inputs, outputs in matrices]
    return number * (sum(numbers) - max(numbers)) - stored
