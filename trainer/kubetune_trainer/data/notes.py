"""What the author of a job should know of the data: it can be learned, but perhaps it is not what was meant."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kubetune_api.text import percent, plural
from kubetune_trainer.data import clean
from kubetune_trainer.data.labels import listed_labels
from kubetune_trainer.data.rows import Field, Row
from kubetune_trainer.data.values import quoted
from kubetune_trainer.records import CleaningStep

MUCH = 0.05
"""The share of the rows that a step of the cleaning may drop without a note."""
_MISSING = frozenset(
    ["nan", "-nan", "null", "none", "nil", "na", "n/a", "n.a.", "#na", "#n/a", "<na>", "<null>", "-", "--", "?"]
)
"""How missing values are spelled, in lower case."""
# Neither ink nor width: marks of direction, joiners, selectors of variants, fillers, byte order marks.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_KEEP = "name the labels to keep in spec.task.labels and set spec.dataset.cleaning.dropOtherLabels to drop the others"
_REMEDIES = {
    clean.EMPTY: "Fill the columns if those rows matter",
    clean.SHORT: "Lower spec.dataset.cleaning.minCharacters if those rows matter",
    clean.OTHER_LABEL: "Add their labels to spec.task.labels if those rows matter",
    clean.CONFLICT: "Texts with several labels teach nothing: correct the labels, or remove such rows",
    clean.DUPLICATE: "Set spec.dataset.cleaning.dropDuplicates to false to train on them all the same",
    clean.LEAKED: "Name held-out files that share fewer texts with the training data",
    clean.LEAKED_VALIDATION: "Name validation files that share fewer texts with the test data",
    clean.NO_TARGET: "Raise spec.task.maxLength, if the model allows it, or shorten the prompts",
}
"""By the name of a step that drops rows."""


def notes_of_rows(fields: Sequence[Field], sources: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Notes on the rows that the cleaning has left: headers among them, and labels that look like a mistake."""
    headers = [row for rows in sources.values() for row in rows if _is_header(row, fields)]
    if headers:
        yield (
            f"{headers[0].where}: the columns hold their own names{_and_more(len(headers))}; it looks like a header"
            " repeated between the rows, and is learned as a row; remove it from the file"
        )
    for place, field in enumerate(fields):
        # Labels that the manifest names are meant.
        if field.label and field.choices is None:
            found = _labels_of((row for rows in sources.values() for row in rows), place, field)
            counts = found - _labels_of(headers, place, field)
            yield from _notes_of_labels(counts, field)


def _labels_of(rows: Iterable[Row], place: int, field: Field) -> Counter[str]:
    return Counter(label for row in rows for label in field.labels(row.values[place] or ""))


def notes_of_cleaning(steps: Sequence[CleaningStep], rows_read: int, max_length: int) -> Iterator[str]:
    """Notes on the steps that dropped many rows."""
    for step in steps:
        if step.dropped and step.rows > MUCH * rows_read:
            at = f" at {max_length:,} tokens" if step.name == clean.NO_TARGET else ""
            yield (
                f"{percent(step.rows / rows_read)} of the rows ({step.rows:,} of {rows_read:,}) were dropped:"
                f" {step.what}{at} ({step.name}). {_REMEDIES[step.name]}."
            )


def _is_header(row: Row, fields: Sequence[Field]) -> bool:
    return all(
        value is not None and len(value) < 2 * len(field.column.name) + 8 and _plain(value) == _plain(field.column.name)
        for value, field in zip(row.values, fields, strict=True)
    )


def _notes_of_labels(counts: Mapping[str, int], field: Field) -> Iterator[str]:
    column, what = field.column, f"the label column {quoted(field.column.name)}"
    alike = defaultdict[str, dict[str, int]](dict)
    for label, rows in counts.items():
        alike[_plain(label)][label] = rows
    for group in [group for group in alike.values() if len(group) > 1][:3]:
        yield (
            f"{column.field}: {what} has the labels {listed_labels(group)}, which differ only in letter case, spaces or"
            f" characters that cannot be seen, and are learned as different labels; write them alike, or {_KEEP}"
        )
    named = {label: rows for label, rows in counts.items() if _plain(label) == _plain(column.name)}
    if named:
        yield (
            f"{column.field}: {what} has the label {listed_labels(named)}, which is the column's own name and is"
            f" learned as a label; remove such rows (a header repeated in the file?), or {_KEEP}"
        )
    missing = {label: rows for label, rows in counts.items() if _plain(label) in _MISSING}
    if missing:
        yield (
            f"{column.field}: {what} has the label {listed_labels(missing)}, which is how missing values are often"
            f" written, and is learned as a label; leave such cells empty, or {_KEEP}"
        )


def _and_more(rows: int) -> str:
    return f", and so in {plural(rows - 1, 'row')} more" if rows > 1 else ""


def _plain(text: str) -> str:
    """The text without what readers do not tell apart."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).split()).casefold()
