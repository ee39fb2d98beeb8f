"""Names of classes that a file carries in its metadata, beside a column of integers that stand for them.

The datasets library writes a `ClassLabel` so: 0 is the first name, and -1 a missing value.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kubetune_trainer.data.labels import are_integers
from kubetune_trainer.data.rows import Column, Field
from kubetune_trainer.data.values import quoted
from kubetune_trainer.errors import invalid_data

_DATASETS, _CLASSES = b"huggingface", "ClassLabel"
"""The key of a file's metadata for the library of datasets, and its type for classes."""


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """The names by column, none where the metadata is somebody else's."""
    try:
        features = json.loads((metadata or {}).get(_DATASETS, b"{}"))["info"]["features"]
        named = {
            column: feature["names"]
            for column, feature in ((column, _of_one(feature)) for column, feature in features.items())
            if isinstance(feature, dict) and feature.get("_type") == _CLASSES
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    return {column: names for column, names in named.items() if _are_names(names)}


def _of_one(feature: Any) -> Any:
    """What a cell holds, or each item of a cell that is a list."""
    if isinstance(feature, list):  # as older files write it
        return feature[0] if feature else None
    if isinstance(feature, dict) and "feature" in feature:
        return feature["feature"]
    return feature


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def names_for(field: Field, names: Sequence[str]) -> Sequence[str]:
    """What the classes are called: by their numbers where the manifest names those, `labels: ["0", "1"]`."""
    choices = field.choices or ()
    numbered = are_integers(choices) and not set(choices) & set(names)
    return [str(number) for number in range(len(names))] if numbered else names


def named(cell: object, names: Sequence[str], column: Column, where: str) -> object:
    """The name of a class in the place of its number, in a list of each; None for a missing value."""
    if isinstance(cell, list):
        return [named(item, names, column, where) for item in cell]
    if not isinstance(cell, int) or isinstance(cell, bool):
        return cell
    if not -1 <= cell < len(names):
        raise invalid_data(
            f"{where}: the column {quoted(column.name)} ({column.field}) holds {cell}, and the file's own names of its"
            f" classes are for 0 to {len(names) - 1}; correct the value, and write the file again"
        )
    return None if cell == -1 else names[cell]
