"""Which labels a classification has, and whether the data can teach them."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from math import isnan
from numbers import Real

from kubetune_api.text import plural
from kubetune_trainer.data.rows import Column, Row
from kubetune_trainer.data.values import bounded, kind_of, quoted
from kubetune_trainer.errors import RunError, invalid_data

MAX_LABELS = 1000
"""As many as `task.labels` may name."""
MAX_LABEL_CHARACTERS = 256
"""As long as the API allows a label to be."""
SHOWN_LABELS = 10

_PURPOSE = {"train": "training", "validation": "validation", "test": "test"}

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|inf", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_EXACT = 2.0**53
"""Up to here every integer is a number of 64 bits."""


def label_of(value: object, column: Column, where: str) -> str | None:
    """A cell of a label column, as the name of its class: `1` for an integer, `true` for a boolean."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Real | Decimal) and not isinstance(value, int):
        value = _whole(float(value), column, where)
    if value is None:
        return None
    if not isinstance(value, str | int):
        raise invalid_data(
            f"{where}: the column {quoted(column.name)} ({column.field}) holds {kind_of(value)};"
            " a label must be a string, an integer or a boolean"
        )
    # A label stands in many rows: interning keeps one copy.
    return sys.intern(bounded(str(value), column, where))


def as_integer(label: str) -> str:
    """`1` for `1.0`; any other label as it is."""
    whole = _WHOLE.fullmatch(label)
    return str(int(whole[1])) if whole else label


def are_integers(labels: Iterable[str]) -> bool:
    """Whether some of the labels are integers: then a whole number with a decimal point means one of them."""
    return any(_INTEGER.fullmatch(label) for label in labels)


def label_set(
    rows: Sequence[Row], given: Sequence[str] | None, column: Column, classes: Sequence[str]
) -> tuple[str, ...]:
    """The labels, in the order of the head's outputs: those given, or those of `rows`.

    Of the latter, those of `classes` stand in its order, the others behind them, sorted (integers by value).
    """
    counts = Counter(row["label"] for row in rows)
    _refuse_fractions(rows, [label for label in counts if given is None or label not in given], column)
    if given is not None:
        return tuple(given)
    refuse_wrong_column(counts, column)
    if len(counts) == 1:
        raise invalid_data(
            f"{column.field}: every row has the label {listed_labels(counts)}; a classification needs at least two"
            " different labels in the training data"
        )
    integers = all(_INTEGER.fullmatch(label) for label in counts)
    of_files = [label for label in dict.fromkeys(classes) if label in counts]
    others = counts.keys() - set(of_files)
    return (*of_files, *sorted(others, key=lambda label: (int(label) if integers else 0, label)))


def refuse_unknown(rows: Sequence[Row], labels: Sequence[str], source: str, *, given: bool) -> None:
    """Raises if `rows` have a label that is none of `labels`, which were given or found in the training data."""
    known = set(labels)
    unknown = Counter(row["label"] for row in rows if row["label"] not in known)
    if not unknown:
        return
    first = next(row for row in rows if row["label"] not in known)
    if given:
        raise invalid_data(
            f"{first.where}: the {_PURPOSE[source]} data has labels that spec.task.labels does not name:"
            f" {listed_labels(unknown)}; add them to the list, or set spec.dataset.cleaning.dropOtherLabels to drop"
            " their rows"
        )
    raise invalid_data(
        f"{first.where}: the {_PURPOSE[source]} data has labels that are not in the training data:"
        f" {listed_labels(unknown)}; correct them, add training rows with them, or name the labels to keep in"
        " spec.task.labels and set spec.dataset.cleaning.dropOtherLabels"
    )


def refuse_untaught(training: Sequence[Row], labels: Sequence[str], *, given: bool) -> None:
    """Raises if a label has no row in the training split."""
    taught = {row["label"] for row in training}
    missing = [label for label in labels if label not in taught]
    if missing:
        remedy = "or remove it from spec.task.labels" if given else "or set spec.dataset.stratify to true"
        raise invalid_data(
            f"spec.dataset.uri: no row of the training split has the label {listed_labels(missing)}; add rows with it,"
            f" {remedy}"
        )


def label_rows(rows: Sequence[Row], labels: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Rows per label, in the order of the labels."""
    counts = Counter(row["label"] for row in rows)
    return tuple((label, counts[label]) for label in labels)


def _refuse_fractions(rows: Sequence[Row], labels: Sequence[str], column: Column) -> None:
    """CSV has no types: a column is one of fractions if all of it are numbers, and not all are integers."""
    if not labels or not all(_NUMBER.fullmatch(label) for label in labels):
        return
    fractions = {label for label in labels if not _INTEGER.fullmatch(label)}
    first = next((row for row in rows if row["label"] in fractions), None)
    if first is not None and all(_INTEGER.fullmatch(as_integer(label)) for label in labels):
        raise _integers_with_a_point(column, first, labels)
    if first is not None:
        raise _numbers_on_a_scale(column, first.where, first["label"])


def _integers_with_a_point(column: Column, first: Row, labels: Sequence[str]) -> RunError:
    names = [str(number) for number in sorted({int(as_integer(label)) for label in labels})]
    shown = ", ".join(f'"{name}"' for name in names[:SHOWN_LABELS]) + (", …" if len(names) > SHOWN_LABELS else "")
    return invalid_data(
        f"{first.where}: the column {quoted(column.name)} ({column.field}) holds {first['label']}: its numbers are"
        " whole, with a decimal point, as pandas writes integers beside missing values; if they are classes, name them"
        f" in spec.task.labels, [{shown}], and {first['label']} is read as {as_integer(first['label'])}"
    )


def _whole(value: float, column: Column, where: str) -> str | None:
    """A number with a decimal point, `1.0`; a missing value for NaN."""
    if isnan(value):
        return None
    if not value.is_integer() or abs(value) > _EXACT:
        raise _numbers_on_a_scale(column, where, repr(value))
    return f"{value:.1f}"


def _numbers_on_a_scale(column: Column, where: str, shown: str) -> RunError:
    return invalid_data(
        f"{where}: the column {quoted(column.name)} ({column.field}) holds {shown}, which looks like numbers on a"
        " scale; a classification needs classes; use integers or strings"
    )


def refuse_wrong_column(counts: Mapping[str, int], column: Column) -> None:
    """Raises if there are too many labels, or too long ones, to be labels."""
    longest = max(map(len, counts))
    if len(counts) > MAX_LABELS:
        error = f"{len(counts):,} different values in {sum(counts.values()):,} rows; at most {MAX_LABELS:,} labels"
    elif longest > MAX_LABEL_CHARACTERS:
        error = f"a value of {longest:,} characters; labels of at most {MAX_LABEL_CHARACTERS}"
    else:
        return
    raise invalid_data(
        f"{column.field}: the column {quoted(column.name)} has {error} are possible; is it the right column?"
    )


def listed_labels(labels: Mapping[str, int] | Sequence[str]) -> str:
    """The labels for a message, with their rows where those are given: `'good' (61 rows), 'bad' (1 row)`."""
    names = list(labels)
    rows = [f" ({plural(labels[name], 'row')})" if isinstance(labels, Mapping) else "" for name in names]
    shown = ", ".join(quoted(name) + count for name, count in zip(names[:SHOWN_LABELS], rows, strict=False))
    return shown + (f" and {len(names) - SHOWN_LABELS:,} more" if len(names) > SHOWN_LABELS else "")
