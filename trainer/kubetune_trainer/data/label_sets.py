"""A cell of several labels, or of none: a list, or a text with separators; of any format to the JSON of a list."""

import json
from collections.abc import Iterable, Sequence

from kubetune_trainer.data.labels import label_of
from kubetune_trainer.data.rows import Column, Row
from kubetune_trainer.data.values import kind_of, quoted
from kubetune_trainer.errors import RunError, invalid_data

NAME = "labels"
"""What the field is called."""


def labels_in(value: object, column: Column, where: str, *, separator: str) -> str | None:
    """The labels of a cell, each once, sorted; an empty list or text has none, and null is a missing value."""
    if isinstance(value, str):
        value = _parsed(value.strip(), column, where, separator)
    if value is None:
        return None
    found = [label_of(cell, column, where) for cell in (value if isinstance(value, list) else [value])]
    if None in found:
        raise _wrong(column, where, "a list with a gap in it", "remove the gap, or give the label")
    return json.dumps(sorted({label.strip() for label in found if label and label.strip()}), ensure_ascii=False)


def as_labels(text: str) -> list[str]:
    """The labels of what `labels_in` made."""
    labels: list[str] = json.loads(text) if text else []
    return labels


def one_by_one(rows: Iterable[Row]) -> list[Row]:
    """A row with one label for each label of each row, for what looks at single labels."""
    return [
        Row(("label",), (label,), row.file, row.line) for row in rows for label in dict.fromkeys(as_labels(row[NAME]))
    ]


def refuse_too_few(labels: Sequence[str], column: Column) -> None:
    """Raises where there are not two labels that a text may have."""
    if len(labels) < 2:
        only = f"one label alone, {quoted(labels[0])}" if labels else "no label in any row"
        raise invalid_data(
            f"{column.field}: the training data has {only}; several labels need at least two different ones. For one"
            " label that a text has or has not, train a classification of two labels"
        )


def _parsed(text: str, column: Column, where: str, separator: str) -> object:
    if not text.startswith("["):
        return text.split(separator)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong(
            column,
            where,
            quoted(text),
            'which begins like a list and is not one of JSON; write ["a", "b"], with double quotes, or the labels with'
            f" {separator!r} between them",
        ) from None
    if not isinstance(found, list):
        raise _wrong(column, where, kind_of(found), "give a list of labels")
    return found


def _wrong(column: Column, where: str, what: str, remedy: str) -> RunError:
    joint = ", " if remedy.startswith("which") else "; "
    return invalid_data(f"{where}: the column {quoted(column.name)} ({column.field}) holds {what}{joint}{remedy}")
