"""Reads the files of a dataset, whatever their format, into rows that know where they came from."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from kubetune_api.formats import COMPRESSIONS, FORMATS, all_endings, compression_of, format_of
from kubetune_trainer.data.formats.csv import csv_records
from kubetune_trainer.data.formats.jsonl import jsonl_records
from kubetune_trainer.data.formats.parquet import parquet_records
from kubetune_trainer.data.rows import Column, Field, Row, place
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile
from kubetune_trainer.storage.signatures import FETCH_THE_FILE, POINTER, kind_of

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
    _refuse_another_kind(file, name)
    names = tuple(field.name for field in fields)
    with closing(READERS[name](file, [field.column for field in fields])) as found:
        for line, cells in found:
            where = place(file.uri, line)
            values = tuple(field.read(cell, field.column, where) for field, cell in zip(fields, cells, strict=True))
            yield Row(names, values, file.uri, line)


def _refuse_another_kind(file: LocalFile, name: str) -> None:
    """RunError where the first bytes of a file are not what its name promises."""
    kind, compression = kind_of(file.path), compression_of(file.uri)
    if kind == (compression or (name if FORMATS[name].signature else None)) or file.path.stat().st_size == 0:
        return
    called = file.uri.rpartition("/")[2]
    plain = called.rpartition(".")[0] if compression else called
    if kind == POINTER:
        raise invalid_data(f"{file.uri} is {FETCH_THE_FILE}")
    if kind is None:
        wanted = f"compressed with {compression}; rename it to {plain}" if compression else f"{name}; write it again"
        raise invalid_data(f"{file.uri} is not {wanted}")
    if kind in COMPRESSIONS.values():
        ending = next(ending for ending, title in COMPRESSIONS.items() if title == kind)
        raise invalid_data(f"{file.uri} is compressed with {kind}; rename it to {plain}{ending}")
    raise invalid_data(f"{file.uri} is {kind}; save the table as {name}, or give the file the name of its format")
