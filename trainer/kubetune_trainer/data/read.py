"""Reads the files of a dataset, whatever their format, into rows that know where they came from."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from kubetune_api.formats import COMPRESSIONS, FORMATS, all_endings, compression_of, format_of
from kubetune_trainer.data.classes import named, names_for
from kubetune_trainer.data.formats.csv import csv_records
from kubetune_trainer.data.formats.jsonl import jsonl_records
from kubetune_trainer.data.formats.parquet import parquet_table
from kubetune_trainer.data.rows import Column, Field, Row, Table, place
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile
from kubetune_trainer.storage.signatures import FETCH_THE_FILE, POINTER, kind_of

Reader = Callable[[LocalFile, Sequence[Column]], Table]
Classes = Mapping[str, Sequence[str]]
"""By the name of a field: the classes that the files name, in their own order."""


def _without_classes(records: Callable[[LocalFile, Sequence[Column]], Generator[tuple[int, Sequence[Any]]]]) -> Reader:
    return lambda file, columns: Table(records(file, columns))


READERS: dict[str, Reader] = {
    "CSV": _without_classes(csv_records),
    "JSONL": _without_classes(jsonl_records),
    "Parquet": parquet_table,
}
"""By the format's name in the API's table."""


def read(
    files: Iterable[LocalFile], fields: Sequence[Field], field: str, beside: Sequence[Field] = ()
) -> tuple[list[Row], Classes]:
    """All rows of the files, in the order of the files' names, and the classes that the files name.

    `field` is the field of the manifest that names the files: `spec.dataset.uri`. `beside` are those of `Row.beside`.
    """
    ordered = sorted(files, key=lambda file: file.uri)
    rows: list[Row] = []
    classes: dict[str, dict[str, None]] = {}
    for file in ordered:
        table = _table(file, [*fields, *beside])
        names = [_names(table, one) for one in (*fields, *beside)]
        for one, found in zip(fields, names, strict=False):
            classes.setdefault(one.name, {}).update(dict.fromkeys(found or ()))
        rows += _rows(file, table, fields, beside, names)
    if not rows:
        shown = ", ".join(file.uri for file in ordered[:3]) + (" …" if len(ordered) > 3 else "")
        raise invalid_data(f"{field}: there are no rows in {shown}; add rows, or name another file")
    return rows, {name: tuple(found) for name, found in classes.items()}


def _table(file: LocalFile, fields: Sequence[Field]) -> Table:
    name = format_of(file.uri)
    if name is None:
        endings = ", ".join(all_endings())
        raise invalid_data(f"{file.uri}: the format is not known from the name; it must end in {endings}")
    _refuse_another_kind(file, name)
    return READERS[name](file, [field.column for field in fields])


def _names(table: Table, field: Field) -> Sequence[str] | None:
    """What stands in the place of a column's integers."""
    names = table.classes.get(field.column.name)
    return None if names is None else names_for(field, names)


def _rows(
    file: LocalFile,
    table: Table,
    fields: Sequence[Field],
    beside: Sequence[Field],
    classes: Sequence[Sequence[str] | None],
) -> Iterator[Row]:
    names = tuple(field.name for field in fields)
    with closing(table.records) as found:
        for line, cells in found:
            where = place(file.uri, line)
            values = tuple(
                field.read(cell if own is None else named(cell, own, field.column, where), field.column, where)
                for field, cell, own in zip((*fields, *beside), cells, classes, strict=True)
            )
            yield Row(names, values[: len(names)], file.uri, line, values[len(names) :])


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
