"""What a safetensors file says of itself at its beginning: names, types and places of its tensors.

It needs neither torch nor the file: whoever streams one looks at its first bytes.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

FIRST = 8
"""The bytes before the header, which say how long it is."""
_MOST = 100_000_000
"""Bytes of a header; safetensors itself reads no longer one."""
_METADATA = "__metadata__"
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Of one number of each type."""
_Count = Annotated[int, Field(ge=0, strict=True)]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor, as a header describes it."""

    kind: str
    """The type of its numbers: `F32`, `BF16`."""
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many there are."""
        return math.prod(self.shape)


class _Entry(BaseModel):
    dtype: str
    shape: tuple[_Count, ...]
    data_offsets: tuple[_Count, _Count]


_HEADER = TypeAdapter(dict[str, _Entry | dict[str, str]])


def header_end(first: bytes) -> int:
    """Where the header ends, in bytes, by the first bytes of the file; ValueError if it has none."""
    length = int.from_bytes(first[:FIRST], "little")
    if len(first) < FIRST or length > _MOST:
        raise ValueError("it does not begin as a safetensors file does")
    return FIRST + length


def tensors_in(beginning: bytes, size: int) -> dict[str, StoredTensor]:
    """The tensors of a file of `size` bytes, by its `beginning`, which goes as far as the header at least.

    ValueError says why it is no whole safetensors file.
    """
    end = header_end(beginning)
    if len(beginning) < end:
        raise ValueError("it ends within its header")
    try:
        content = _HEADER.validate_json(beginning[FIRST:end])
    except ValidationError:
        raise ValueError("its header is damaged") from None
    entries = {name: entry for name, entry in content.items() if isinstance(entry, _Entry)}
    if content.keys() - entries.keys() - {_METADATA}:
        raise ValueError("its header is damaged")
    _check_places(entries, size - end)
    return {name: StoredTensor(entry.dtype, entry.shape) for name, entry in entries.items()}


def _check_places(entries: dict[str, _Entry], size: int) -> None:
    """Each tensor has the bytes that its shape needs, and they fill the file without a gap."""
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, end = entry.data_offsets
        if entry.dtype not in _BYTES:
            raise ValueError(f"the tensor {name} has numbers of the unknown type {entry.dtype}")
        if end - begin != math.prod(entry.shape) * _BYTES[entry.dtype]:
            raise ValueError(f"the tensor {name} has other bytes than its shape needs")
        if begin != place:
            raise ValueError(f"the tensor {name} does not follow the one before it")
        place = end
    if place != size:
        raise ValueError(f"its tensors have {place} bytes, and {size} follow its header")
