"""A cell of numbers: one, or a list of several; of any format to the JSON of a list, and back."""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from math import inf, isnan, nan
from numbers import Real

from kubetune_trainer.data.rows import Column
from kubetune_trainer.data.values import kind_of, quoted
from kubetune_trainer.errors import RunError, invalid_data

LARGEST = 1e18
"""The square of a larger number leaves the range of 32 bits, in which losses are computed."""
MOST_NUMBERS = 1000
"""In a cell, as many as a classification may have labels."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?nan", re.ASCII | re.IGNORECASE)


def numbers_of(value: object, column: Column, where: str) -> str | None:
    """A cell of one number or of a list of them; None where there is none, for NaN too."""
    if isinstance(value, str):
        value = _parsed(value.strip(), column, where)
    if value is None:
        return None
    cells = value if isinstance(value, list) else [value]
    numbers = [_number(cell, column, where) for cell in cells]
    if not isinstance(value, list) and isnan(numbers[0]):
        return None
    if not 0 < len(numbers) <= MOST_NUMBERS:
        raise _wrong(column, where, f"a list of {len(numbers):,} numbers", f"a row has 1 to {MOST_NUMBERS:,} of them")
    if any(map(isnan, numbers)):
        raise _wrong(column, where, "a list with a gap in it", "fill it, or remove the row")
    return json.dumps(numbers)


def as_numbers(text: str) -> list[float]:
    """The numbers of what `numbers_of` made."""
    numbers: list[float] = json.loads(text)
    return numbers


def shown(numbers: Sequence[float]) -> str:
    """Numbers for people: `3.5, 1`."""
    return ", ".join(f"{number:.6g}" for number in numbers)


def _parsed(text: str, column: Column, where: str) -> object:
    """What a text stands for: a number, a list of JSON, or nothing."""
    if not text:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        found = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise _not_a_number(column, where, quoted(text))
    return found


def _number(cell: object, column: Column, where: str) -> float:
    if cell is None:
        return nan
    if isinstance(cell, bool) or not isinstance(cell, Real | Decimal):
        raise _not_a_number(column, where, quoted(cell) if isinstance(cell, str) else kind_of(cell))
    try:
        number = float(cell)
    except OverflowError:
        number = inf
    if abs(number) > LARGEST:
        what = f"values up to {LARGEST:g} can be learned; write it in larger units"
        raise _wrong(column, where, f"{number:g}", what)
    return number


def _not_a_number(column: Column, where: str, what: str) -> RunError:
    return _wrong(
        column, where, what, "a value must be a number, such as 3.5, or a list of numbers, such as [3.5, 1]; leave the"
        " cell empty where there is none"
    )  # fmt: skip


def _wrong(column: Column, where: str, what: str, remedy: str) -> RunError:
    return invalid_data(f"{where}: the column {quoted(column.name)} ({column.field}) holds {what}; {remedy}")
