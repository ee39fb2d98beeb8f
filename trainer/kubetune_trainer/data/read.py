"""Reads the files of a dataset, whatever their format, into rows that know where they came from."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from kubetune_api.formats import all_endings, format_of
from kubetune_trainer.data.formats.csv import csv_records
from kubetune_trainer.data.formats.jsonl import jsonl_records
from kubetune_trainer.data.formats.parquet import parquet_records
from kubetune_trainer.data.rows import Column, Field, Row, place
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile

Records = Callable[[LocalFile, Sequence[Column]], Generator[tuple[int, Sequence[Any]]]]

READERS: dict[str, Records] = {"CSV": csv_records, "JSONL": jsonl_records, "Parquet": parquet_records}
"""By the format's name in the API's table."""


def read(files: Iterable[LocalFile], fields: Sequence[Field], field: str) -> list[Row]:
    """All rows of the files, in the order of the files' names.

    `field` is the field of the manifest that names the files: `spec.dataset.uri`.
    """
    ordered = sorted(files, key=lambda file: file.uri)
    rows = [row for file in ordered for row in _rows(file, fields)]
    if not rows:
        names = ", ".join(file.uri for file in ordered[:3]) + (" …" if len(ordered) > 3 else "")
        raise invalid_data(f"{field}: there are no rows in {names}; add rows, or name another file")
    return rows


def _rows(file: LocalFile, fields: Sequence[Field]) -> Iterator[Row]:
    name = format_of(file.uri)
    if name is None:
        endings = ", ".join(all_endings())
        raise invalid_data(f"{file.uri}: the format is not known from the name; it must end in {endings}")
    names = tuple(field.name for field in fields)
    with closing(READERS[name](file, [field.column for field in fields])) as found:
        for line, cells in found:
            where = place(file.uri, line)
            values = tuple(field.read(cell, field.column, where) for field, cell in zip(fields, cells, strict=True))
            yield Row(names, values, file.uri, line)
