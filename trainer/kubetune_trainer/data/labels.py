"""Which labels a classification has, and whether the data can teach them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from kubetune_trainer.data.rows import Column, Row
from kubetune_trainer.data.values import numbers_on_a_scale, quoted
from kubetune_trainer.errors import invalid_data

MAX_LABELS = 1000
"""As many as `task.labels` may name."""
SHOWN_LABELS = 10

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|inf", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+")


def label_set(rows: Sequence[Row], given: Sequence[str] | None, column: Column) -> tuple[str, ...]:
    """The labels, in the order of the head's outputs: those given, or those of `rows`, sorted (integers by value)."""
    counts = Counter(row.label or "" for row in rows)
    _refuse_fractions(rows, [label for label in counts if given is None or label not in given], column)
    if given is not None:
        _refuse_others(rows, given, column)
        return tuple(given)
    if len(counts) > MAX_LABELS:
        raise invalid_data(
            f"{column.field}: the column {quoted(column.name)} has {len(counts):,} different values in {len(rows):,}"
            f" rows; a classification has at most {MAX_LABELS:,}; is it the right column?"
        )
    if len(counts) < 2:
        raise invalid_data(
            f"{column.field}: every row has the label {_listed(counts)}; a classification needs at least two"
            " different labels in the training data"
        )
    return tuple(sorted(counts, key=_order(counts)))


def refuse_unknown(rows: Sequence[Row], labels: Sequence[str], split: str) -> None:
    """Raises if `rows`, of a separate file for `split`, have a label that the training data has not."""
    known = set(labels)
    unknown = Counter(row.label or "" for row in rows if row.label not in known)
    if unknown:
        first = next(row for row in rows if row.label in unknown)
        raise invalid_data(
            f"{first.where}: the {split} data has labels that the training data never shows: {_listed(unknown)};"
            f" the training data has {_listed(labels)}; correct the labels, or name those to use in spec.task.labels"
            " and set spec.dataset.cleaning.dropOtherLabels"
        )


def refuse_untaught(training: Sequence[Row], labels: Sequence[str]) -> None:
    """Raises if a label has no training row."""
    taught = {row.label for row in training}
    missing = [label for label in labels if label not in taught]
    if missing:
        raise invalid_data(
            f"spec.task.labels: no row of the training split has the label {_listed(missing)}; add rows with it, take"
            " it off the list, or set spec.dataset.stratify so that every label stays represented"
        )


def label_rows(rows: Sequence[Row], labels: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Rows per label, in the order of the labels."""
    counts = Counter(row.label for row in rows)
    return tuple((label, counts[label]) for label in labels)


def _refuse_fractions(rows: Sequence[Row], labels: Sequence[str], column: Column) -> None:
    """CSV has no types: a column is one of fractions if all of it are numbers, and not all are integers."""
    if not labels or not all(_NUMBER.fullmatch(label) for label in labels):
        return
    fractions = {label for label in labels if not _INTEGER.fullmatch(label)}
    first = next((row for row in rows if row.label in fractions), None)
    if first is not None:
        raise numbers_on_a_scale(column, first.where, first.label or "")


def _refuse_others(rows: Sequence[Row], given: Sequence[str], column: Column) -> None:
    known = set(given)
    others = Counter(row.label or "" for row in rows if row.label not in known)
    if others:
        first = next(row for row in rows if row.label in others)
        raise invalid_data(
            f"{first.where}: the column {quoted(column.name)} ({column.field}) holds labels that spec.task.labels does"
            f" not name: {_listed(others)}; add them to the list, or set spec.dataset.cleaning.dropOtherLabels to drop"
            " their rows"
        )


def _order(labels: Iterable[str]) -> "type[int] | None":
    return int if all(_INTEGER.fullmatch(label) for label in labels) else None


def _listed(labels: Mapping[str, int] | Sequence[str]) -> str:
    names = list(labels)
    rows = [f" ({labels[name]:,} rows)" if isinstance(labels, Mapping) else "" for name in names]
    shown = ", ".join(quoted(name) + count for name, count in zip(names[:SHOWN_LABELS], rows, strict=False))
    return shown + (f" and {len(names) - SHOWN_LABELS:,} more" if len(names) > SHOWN_LABELS else "")
