"""Cleans rows before they are split, and counts what each step did."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from kubetune_api.job import Cleaning
from kubetune_api.text import plural
from kubetune_trainer.data.labels import are_integers, as_integer
from kubetune_trainer.data.rows import Field, Row
from kubetune_trainer.data.values import quoted
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import CleaningStep

NORMALIZED, EMPTY, SHORT = "unicodeNormalization", "dropEmpty", "minCharacters"
OTHER_LABEL, DUPLICATE, CONFLICT = "dropOtherLabels", "dropDuplicates", "conflictingDuplicates"
LEAKED, LEAKED_VALIDATION, NO_TARGET = "leakedRows", "leakedValidationRows", "noTarget"

STEPS = {
    NORMALIZED: "rows whose Unicode form or control characters were changed",
    EMPTY: "rows with a missing or blank value",
    SHORT: "rows with a text that is too short",
    OTHER_LABEL: "rows with a label that the job does not use",
    CONFLICT: "rows with the text of an earlier row and another label",
    DUPLICATE: "rows that repeat an earlier row",
    LEAKED: "training rows whose text is also in the validation or test data",
    LEAKED_VALIDATION: "validation rows whose text is also in the test data",
    NO_TARGET: "rows of which no token is left to learn from",
}
"""Every step, in the order they happen."""

Counts = Counter[str]
"""Rows per step."""

# All of Unicode's category Cc but tab and newline.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Cleaner:
    """The cleaning that a job asks for; the same for each of its sources."""

    def __init__(self, cleaning: Cleaning, fields: Sequence[Field]) -> None:
        self.cleaning = cleaning
        self.fields = fields
        self.normalize = normalizer(cleaning)
        self.texts = [place for place, field in enumerate(fields) if not field.label]
        self.labels = [place for place, field in enumerate(fields) if field.label]
        self.choices = [{self.normalize(choice).strip(): choice for choice in field.choices or ()} for field in fields]
        self.integers = [are_integers(choices) for choices in self.choices]

    def clean(self, rows: Sequence[Row]) -> tuple[list[Row], Counts]:
        """The rows that remain, and the count of every step that the job asks for (0 where it found nothing)."""
        kept = [self._normalized(row) for row in rows]
        counts: Counts = Counter()
        if self.cleaning.unicode_normalization != "None":
            changed = ((old, new) for old, new in zip(rows, kept, strict=True) if old is not new)
            counts[NORMALIZED] = sum(self._text(old) != self._text(new) for old, new in changed)
        for name, step in self._steps():
            before = len(kept)
            kept = step(kept)
            counts[name] = before - len(kept)
        return kept, counts

    def clean_classes(self, classes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        """The names of classes by the name of their field, as the labels of cleaned rows are spelled."""
        return {name: tuple(self.normalize(label).strip() for label in labels) for name, labels in classes.items()}

    def _steps(self) -> Iterator[tuple[str, Callable[[list[Row]], list[Row]]]]:
        yield EMPTY, self._drop_empty
        if self.cleaning.min_characters > 0:
            yield SHORT, self._drop_short
        if self.cleaning.drop_other_labels:
            yield OTHER_LABEL, self._drop_other_labels
        if self.cleaning.drop_duplicates and self.labels:
            yield CONFLICT, self._drop_conflicting
        if self.cleaning.drop_duplicates:
            yield DUPLICATE, self._drop_duplicates

    def _text(self, row: Row) -> tuple[str | None, ...]:
        return tuple(row.values[place] for place in self.texts)

    def _label(self, row: Row) -> tuple[str | None, ...]:
        return tuple(row.values[place] for place in self.labels)

    def _normalized(self, row: Row) -> Row:
        values = tuple(
            None
            if value is None
            else self._normalized_label(value, place)
            if field.label
            else field.texts.changed(value, self.normalize)
            for place, (field, value) in enumerate(zip(self.fields, row.values, strict=True))
        )
        return row if values == row.values else replace(row, values=values)

    def _normalized_label(self, value: str, place: int) -> str:
        label = self.normalize(value).strip()
        if label not in self.choices[place] and self.integers[place]:
            label = as_integer(label)
        return self.choices[place].get(label, label)

    def _drop_empty(self, rows: list[Row]) -> list[Row]:
        kept = [row for row in rows if self._blank(row) is None]
        if len(kept) < len(rows) and not self.cleaning.drop_empty:
            first = next(row for row in rows if self._blank(row) is not None)
            others = len(rows) - len(kept) - 1
            more = f", and so is a value in {plural(others, 'row')} more" if others else ""
            raise invalid_data(
                f"{first.where}: the column {quoted(self._blank(first) or '')} is empty{more};"
                " fill it, or set spec.dataset.cleaning.dropEmpty to true"
            )
        return kept

    def _blank(self, row: Row) -> str | None:
        """The name of the first column that has no value."""
        for field, value in zip(self.fields, row.values, strict=True):
            if value is None or not all(text.strip() for text in field.texts.needed(value)):
                return field.column.name
        return None

    def _drop_short(self, rows: list[Row]) -> list[Row]:
        measured, shortest = [field for field in self.fields if field.measured], self.cleaning.min_characters
        return [
            row
            for row in rows
            if all(len(field.texts.measured(row[field.name]).strip()) >= shortest for field in measured)
        ]

    def _drop_other_labels(self, rows: list[Row]) -> list[Row]:
        limited = [(field, set(field.choices)) for field in self.fields if field.choices is not None]
        assert limited, "the API's rules require task.labels beside dropOtherLabels"
        return [
            row for row in rows if all(choices.issuperset(field.labels(row[field.name])) for field, choices in limited)
        ]

    def _drop_conflicting(self, rows: list[Row]) -> list[Row]:
        first: dict[tuple[str | None, ...], tuple[str | None, ...]] = {}
        labelled = ((row, self._label(row)) for row in rows)
        return [row for row, label in labelled if first.setdefault(self._text(row), label) == label]

    def _drop_duplicates(self, rows: list[Row]) -> list[Row]:
        first: dict[tuple[str | None, ...], Row] = {}
        for row in rows:
            first.setdefault(self._text(row), row)
        return list(first.values())


def normalizer(cleaning: Cleaning) -> Callable[[str], str]:
    """What `cleaning.unicodeNormalization` does to a text."""
    form = cleaning.unicode_normalization
    if form == "None":
        return lambda text: text

    def normalize(text: str) -> str:
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = _CONTROL.sub("", text)
        return text if text.isascii() else unicodedata.normalize(form, text)

    return normalize


def steps_of(counts: Counts) -> tuple[CleaningStep, ...]:
    """The steps that happened, for the report."""
    return tuple(
        CleaningStep(name, what, counts[name], dropped=name != NORMALIZED)
        for name, what in STEPS.items()
        if name in counts
    )


def refuse_nothing_left(rows: Sequence[Row], read: int, counts: Counts, field: str) -> None:
    """Raises if the cleaning has left no row, with what each step took."""
    if rows:
        return
    taken = "; ".join(
        f"{step.rows:,} {step.what} ({step.name})" for step in steps_of(counts) if step.dropped and step.rows
    )
    raise invalid_data(
        f"{field}: no row is left of the {read:,} that were read: {taken}; change spec.dataset.cleaning or the data"
    )
