"""Reads the files of a dataset, whatever their format, into rows that know where they came from."""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from kubetune_api.formats import all_endings, format_of
from kubetune_trainer.data.formats.csv import csv_records
from kubetune_trainer.data.formats.jsonl import jsonl_records
from kubetune_trainer.data.formats.parquet import parquet_records
from kubetune_trainer.data.rows import Column, ColumnMap, Row, place
from kubetune_trainer.data.values import label_of, text_of
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile

Records = Callable[[LocalFile, Sequence[Column]], Generator[tuple[int, Sequence[Any]]]]

READERS: dict[str, Records] = {"CSV": csv_records, "JSONL": jsonl_records, "Parquet": parquet_records}
"""By the format's name in the API's table."""


def read(files: Iterable[LocalFile], columns: ColumnMap, field: str) -> list[Row]:
    """All rows of the files, in the order of the files' names.

    `field` is the field of the manifest that names the files: `spec.dataset.uri`.
    """
    ordered = sorted(files, key=lambda file: file.uri)
    rows = [row for file in ordered for row in _rows(file, columns)]
    if not rows:
        names = ", ".join(file.uri for file in ordered[:3]) + (" …" if len(ordered) > 3 else "")
        raise invalid_data(f"{field}: there are no rows in {names}; add rows, or name another file")
    return rows


def _rows(file: LocalFile, columns: ColumnMap) -> Iterator[Row]:
    name = format_of(file.uri)
    if name is None:
        endings = ", ".join(all_endings())
        raise invalid_data(f"{file.uri}: the format is not known from the name; it must end in {endings}")
    with closing(READERS[name](file, columns.wanted)) as found:
        for line, values in found:
            yield _row(file, line, values, columns)


def _row(file: LocalFile, line: int, values: Sequence[Any], columns: ColumnMap) -> Row:
    where, rest = place(file.uri, line), list(values)
    text = text_of(rest.pop(0), columns.text, where)
    other = text_of(rest.pop(0), columns.other, where) if columns.other else None
    label = label_of(rest.pop(0), columns.label, where) if columns.label else None
    # A label stands in many rows: interning keeps one copy.
    return Row(text, other, sys.intern(label) if label is not None else None, file.uri, line)
