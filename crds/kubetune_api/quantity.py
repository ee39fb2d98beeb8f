"""Kubernetes' quantities: `80Gi`, `500m`, `1e9`, or a whole number without quotes."""

import re
from decimal import ROUND_UP, Decimal, localcontext
from math import ceil
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic.alias_generators import to_snake

from kubetune_api.base import INT_OR_STRING_KEY, Rule, words

_NUMBER = r"[+]?(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)"
_SUFFIX = "[KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,3}"
_PATTERN = f"^{_NUMBER}(?:{_SUFFIX})?$"
_PARTS = re.compile(f"({_NUMBER})({_SUFFIX})?")
_MAX_LENGTH = 32
_LARGEST = 2**63 - 1
"""Kubernetes takes what is larger for this, and rounds up what is finer than a billionth."""


def _written(value: Any) -> Any:
    """A whole number of 64 bits as the text for it: `cpu: 2`."""
    return str(value) if type(value) is int and abs(value) <= _LARGEST else value


Quantity = Annotated[
    str,
    StringConstraints(pattern=_PATTERN, max_length=_MAX_LENGTH),
    BeforeValidator(_written),
    Field(
        json_schema_extra=words("a quantity as Kubernetes writes it: `500m`, `4`, `80Gi`") | {INT_OR_STRING_KEY: True}
    ),
]
WHOLE = "^[1-9][0-9]{0,8}([KMG]i)?$"
Whole = Annotated[
    str,
    StringConstraints(pattern=WHOLE, max_length=11),
    BeforeValidator(_written),
    Field(json_schema_extra=words("a whole number, as `4`, or one of bytes, as `512Mi`") | {INT_OR_STRING_KEY: True}),
]
_UNITS = {letter: Decimal(1000) ** power for power, letter in enumerate("num", start=-3)}
_UNITS |= {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)}
_UNITS |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}


def is_quantity(text: str) -> bool:
    """Whether a text is a `Quantity`."""
    return len(text) <= _MAX_LENGTH and re.fullmatch(_PATTERN, text) is not None


def amount(quantity: str) -> Decimal:
    """The number that a quantity stands for: bytes for memory, cores for CPU."""
    parts = _PARTS.fullmatch(quantity)
    assert parts is not None, quantity
    number, suffix = parts.groups(default="")
    with localcontext(prec=100):
        unit = _UNITS[suffix] if suffix in _UNITS else Decimal(f"1{suffix}")
        return min(Decimal(number) * unit, Decimal(_LARGEST)).quantize(Decimal("1e-9"), ROUND_UP).normalize()


def at_least(field: str, least: str, because: str) -> Rule:
    """The rule that a quantity that is set is no smaller; `because` begins its sentence."""
    value = f"self.{field}"
    return Rule(
        # An empty group is judged as a default before its own defaults are filled in; and a text that is no quantity
        # is the pattern's to refuse.
        cel=f"!has({value}) || (type({value}) == int ? {value} >= {ceil(amount(least))} :"
        f" !isQuantity({value}) || quantity({value}).compareTo(quantity('{least}')) >= 0)",
        message=f"{because}; give {least} or more",
        holds=lambda model: amount(getattr(model, to_snake(field)) or least) >= amount(least),
        field=field,
    )


def in_cel(value: str, otherwise: float) -> str:
    """The number that a quantity stands for, in CEL; `otherwise` where it is none, which is the pattern's to refuse."""
    return (
        f"(type({value}) == int ? double({value}) :"
        f" isQuantity({value}) ? quantity({value}).asApproximateFloat() : {otherwise:.1f})"
    )
