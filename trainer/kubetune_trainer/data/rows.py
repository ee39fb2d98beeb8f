"""A row of a dataset with the place it came from, and the columns that the manifest maps to its fields."""

from dataclasses import dataclass

from kubetune_api.formats import FORMATS, format_of
from kubetune_api.job import Columns, FineTuneJobSpec


@dataclass(frozen=True, slots=True)
class Row:
    """One example. A missing value is None until the cleaning has dropped or refused it."""

    text: str | None
    """The text to classify, or the prompt."""
    other: str | None
    """The second text of a pair, or the completion; None where the task has neither."""
    label: str | None
    file: str
    """The URI of its file."""
    line: int
    """Where it begins in the file, counted from 1: a line of text (the header is line 1), or a row of Parquet."""

    @property
    def where(self) -> str:
        """Its place, for messages: `s3://bucket/reviews.csv, line 12`."""
        return place(self.file, self.line)


def place(file: str, line: int) -> str:
    """A place in a file, for messages."""
    name = format_of(file)
    return f"{file}, {FORMATS[name].counted if name else 'line'} {line}"


def counted(rows: int) -> str:
    """A number of rows, for messages: `1 row`, `2,300 rows`."""
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"


@dataclass(frozen=True)
class Column:
    """A column of the data that the manifest names."""

    name: str
    field: str
    """The field of the manifest that names it: `spec.dataset.columns.label`."""


@dataclass(frozen=True)
class ColumnMap:
    """Which columns become which fields of a row."""

    text: Column
    other: Column | None
    label: Column | None

    @classmethod
    def of(cls, spec: FineTuneJobSpec) -> "ColumnMap":
        """The columns that the job's task reads."""
        columns = spec.dataset.columns
        if spec.task.type == "CausalLM":
            return cls(_column(columns, "prompt"), _column(columns, "completion"), None)
        pair = _column(columns, "text_pair") if columns.text_pair is not None else None
        return cls(_column(columns, "text"), pair, _column(columns, "label"))

    @property
    def wanted(self) -> tuple[Column, ...]:
        """All of them, in the order text, other, label."""
        return tuple(column for column in (self.text, self.other, self.label) if column is not None)


def _column(columns: Columns, attribute: str) -> Column:
    name = getattr(columns, attribute)
    assert name is not None, f"the API's rules require columns.{attribute}"
    alias = Columns.model_fields[attribute].alias
    return Column(name=name, field=f"spec.dataset.columns.{alias}")
