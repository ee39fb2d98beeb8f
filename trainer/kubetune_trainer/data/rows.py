"""A row of a dataset with the place it came from, and the fields that its task gives it."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from kubetune_api.formats import FORMATS, format_of
from kubetune_api.job import Columns, FineTuneJobSpec


@dataclass(frozen=True, slots=True)
class Row:
    """One example."""

    names: tuple[str, ...]
    """The fields, one tuple for all rows of a dataset."""
    values: tuple[str | None, ...]
    """Of each field, in the same order. A missing value is None until the cleaning has dropped or refused it."""
    file: str
    """The URI of its file."""
    line: int
    """Where it begins in the file, counted from 1: a line of text (the header is line 1), or a row of Parquet."""
    beside: tuple[str | None, ...] = ()
    """Values that say something of the row and are not for the model; the cleaning leaves them alone."""

    def __getitem__(self, name: str) -> str:
        """The value of a field, "" where it is missing."""
        return self.values[self.names.index(name)] or ""

    @property
    def where(self) -> str:
        """Its place, for messages: `s3://bucket/reviews.csv, line 12`."""
        return place(self.file, self.line)


def place(file: str, line: int) -> str:
    """A place in a file, for messages."""
    return f"{file}, {_counted_in(file)} {line}"


@lru_cache
def _counted_in(file: str) -> str:
    # Asked for each row, and the same for all of a file.
    name = format_of(file)
    return FORMATS[name].counted if name else "line"


@dataclass(frozen=True)
class Table:
    """What the reader of a format finds in a file."""

    records: Generator[tuple[int, Sequence[Any]]]
    """(the place, the values in the order of the columns) for each row, one at a time."""
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By column: the names of the classes that its integers stand for, the first is that of 0."""


@dataclass(frozen=True)
class Column:
    """A column of the data that the manifest names."""

    name: str
    field: str
    """The field of the manifest that names it: `spec.dataset.columns.label`."""

    @classmethod
    def of(cls, spec: FineTuneJobSpec, attribute: str) -> "Column":
        """The column that `dataset.columns` names under an attribute."""
        name = getattr(spec.dataset.columns, attribute)
        assert name is not None, f"the API's rules require columns.{attribute}"
        return cls(name=name, field=f"spec.dataset.columns.{Columns.model_fields[attribute].alias}")


@dataclass(frozen=True)
class Texts:
    """Where the texts of a value are, for the cleaning."""

    changed: Callable[[str, Callable[[str], str]], str] = lambda value, change: change(value)
    """The value with each of its texts changed."""
    needed: Callable[[str], Sequence[str]] = lambda value: (value,)
    """Those that must not be blank."""
    measured: Callable[[str], str] = lambda value: value
    """What `cleaning.minCharacters` judges."""


@dataclass(frozen=True)
class Field:
    """A value that each row of a task has: where it comes from, and what the cleaning may do with it."""

    name: str
    """As the API calls it: `text_pair`, an attribute of `dataset.columns`."""
    column: Column
    read: Callable[[object, Column, str], str | None]
    """From a cell, its column and its place to the value; RunError where the task has no use for such a cell."""
    label: bool = False
    """Whether it is an answer in a word and not a text: outer spaces do not count, and rows that are alike in all their
    texts conflict where they differ in it."""
    measured: bool = False
    """Whether `cleaning.minCharacters` judges it."""
    choices: tuple[str, ...] | None = None
    """The values that a label may have; None: any."""
    labels: Callable[[str], Sequence[str]] = lambda value: (value,)
    """The labels in a value, where it may hold several."""
    texts: Texts = Texts()
    """Of a value that is no text itself but holds some."""
