"""CSV: the values of the wanted columns, record by record."""

import csv
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from kubetune_trainer.data.rows import Column, place
from kubetune_trainer.data.streams import MAX_CELL_CHARACTERS, lines
from kubetune_trainer.data.values import missing_column, refuse_double_column
from kubetune_trainer.errors import RunError, invalid_data
from kubetune_trainer.records import LocalFile

if TYPE_CHECKING:
    import _csv

# The exact messages of CPython's _csv, each with what a person can do about it.
_REMEDIES = {
    "unexpected end of data": 'a quote (") opens here and is never closed; close it, or double it inside a cell',
    "field larger than field limit": f"a cell that begins here is longer than {MAX_CELL_CHARACTERS:,} characters, or"
    ' its quote (") is never closed; shorten the text, or close the quote',
    "expected after": "a quoted cell continues after its closing quote; double the quotes inside a cell"
    ' ("he said ""no""")',
    "new-line character seen": "there is a carriage return without a line feed; end the lines with LF or CRLF"
    " (`tr '\\r' '\\n' < in > out`)",
}


def csv_records(file: LocalFile, columns: Sequence[Column]) -> Generator[tuple[int, list[str]]]:
    """(line, the values in the order of `columns`) for each record; blank lines are passed over."""
    # The limit belongs to the process; nothing else here reads CSV.
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with closing(lines(file)) as text:
        reader = csv.reader(text, strict=True)
        header = _next(reader, file)
        assert header is not None, "lines() refuses an empty file"
        positions = [_position(column, file, header[1]) for column in columns]
        while (record := _next(reader, file)) is not None:
            line, cells = record
            if not cells:
                continue
            if len(cells) != len(header[1]):
                raise _ragged(file, line, len(cells), len(header[1]))
            yield line, [cells[position] for position in positions]


def _next(reader: "_csv.Reader", file: LocalFile) -> tuple[int, list[str]] | None:
    line = reader.line_num + 1
    try:
        return line, next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in str(error)), f"not valid CSV ({error})")
        raise invalid_data(f"{place(file.uri, line)}: {remedy}") from error


def _position(column: Column, file: LocalFile, header: Sequence[str]) -> int:
    if column.name not in header:
        raise missing_column(column, file.uri, header)
    refuse_double_column(column, file.uri, header)
    return header.index(column.name)


def _ragged(file: LocalFile, line: int, found: int, expected: int) -> RunError:
    return invalid_data(
        f"{place(file.uri, line)}: the row has {found} {'cell' if found == 1 else 'cells'}, the header has {expected};"
        ' put a cell that holds a comma or a line end into quotes (")'
    )
