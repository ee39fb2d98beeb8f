"""Errors that pydantic does not look for, because it found others before."""

import copy
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_UNKNOWN = "extra_forbidden"


def broken_beside_unknown(
    model: type[BaseModel], given: Mapping[str, Any], found: Sequence[ErrorDetails]
) -> list[ErrorDetails]:
    """The rules that are broken too, where unknown fields are all that was found: pydantic then judges no rule.

    Rules of a group with an unknown field are left out: they may speak of the very field that was misspelt.
    """
    if any(error["type"] != _UNKNOWN for error in found):
        return []
    known: Any = copy.deepcopy(given)
    for error in found:
        *way, name = error["loc"]
        del reduce(lambda part, key: part[key], way, known)[name]
    try:
        model.model_validate(known, by_alias=True, by_name=False)
    except ValidationError as invalid:
        groups = {error["loc"][:-1] for error in found}
        return [error for error in invalid.errors(include_url=False) if not _is_about(error["loc"], groups)]
    return []


def _is_about(path: tuple[int | str, ...], groups: set[tuple[int | str, ...]]) -> bool:
    return any(path[: len(group)] == group for group in groups if group)
