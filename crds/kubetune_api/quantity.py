"""Kubernetes' quantities: `80Gi`, `500m`."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune_api.base import words

_PATTERN = r"^[0-9]+([.][0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_MAX_LENGTH = 32
Quantity = Annotated[
    str,
    StringConstraints(pattern=_PATTERN, max_length=_MAX_LENGTH),
    Field(json_schema_extra=words("a quantity as Kubernetes writes it: `500m`, `4`, `80Gi`")),
]
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGT", start=1)
}


def is_quantity(text: str) -> bool:
    """Whether a text is a `Quantity`."""
    return len(text) <= _MAX_LENGTH and re.fullmatch(_PATTERN, text) is not None


def amount(quantity: str) -> Decimal:
    """The number that a quantity stands for: bytes for memory, cores for CPU."""
    number = quantity.rstrip("mkMGTKi")
    unit = quantity[len(number) :]
    return Decimal(number) * (Decimal("0.001") if unit == "m" else _UNITS[unit])
