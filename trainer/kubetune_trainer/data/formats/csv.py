"""CSV: the values of the wanted columns, record by record."""

import csv
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Self

from kubetune_api.text import plural
from kubetune_trainer.data.rows import Column, place
from kubetune_trainer.data.streams import MAX_CELL_CHARACTERS, lines
from kubetune_trainer.data.values import refuse_double_column, refuse_missing_columns
from kubetune_trainer.errors import RunError, invalid_data
from kubetune_trainer.records import LocalFile

if TYPE_CHECKING:
    import _csv

_SPACES = (" ", "\t")
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
        raw = _Remembered(text)
        reader = csv.reader(raw, strict=True)
        header = _header(reader, file)
        refuse_missing_columns(columns, file.uri, header)
        positions = [_position(column, file, header) for column in columns]
        while (record := _next(reader, file)) is not None:
            line, cells = record
            if not cells:
                continue
            if len(cells) != len(header):
                raise _ragged(file, line, cells, header)
            wanted = [cells[position] for position in positions]
            if any(cell.startswith(_SPACES) and _is_quoted(cell) and cell in raw.last for cell in wanted):
                raise _space_before_quote(file, line)
            yield line, wanted


class _Remembered:
    """Lines, with the last one at hand: the reader's cells no longer tell which quotes were doubled."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.last = lines, ""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        self.last = next(self._lines)
        return self.last


def _header(reader: "_csv.Reader", file: LocalFile) -> list[str]:
    """The first line that is not blank."""
    while (record := _next(reader, file)) is not None:
        line, cells = record
        if cells and cells[0].lower().startswith("sep="):
            raise invalid_data(f"{place(file.uri, line)}: a line for spreadsheets (sep=); remove it")
        if any(map(_is_quoted, cells)):
            raise _space_before_quote(file, line)
        if any(cell.strip() for cell in cells):
            return cells
    raise invalid_data(f"{file.uri} has blank lines alone; upload it again, or remove it")


def _is_quoted(cell: str) -> bool:
    """Whether quotes stand in the cell that were to stand around it: `"yes"`, but not `"yes" or "no"`."""
    inner = cell.strip()
    return len(inner) > 1 and inner[0] == inner[-1] == '"' and '"' not in inner[1:-1].replace('""', "")


def _opens(cell: str) -> bool:
    """Whether the cell begins with a quote that was to hold the comma behind it."""
    return cell.lstrip().startswith('"') and cell.count('"') % 2 == 1


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
    refuse_double_column(column, file.uri, header)
    return header.index(column.name)


def _space_before_quote(file: LocalFile, line: int) -> RunError:
    return invalid_data(
        f'{place(file.uri, line)}: a space stands before a quote ("), which makes the quote a part of the cell; remove'
        " the spaces between commas and quotes (`sed -E 's/, +\"/,\"/g' in > out`)"
    )


def _ragged(file: LocalFile, line: int, cells: Sequence[str], header: Sequence[str]) -> RunError:
    found, expected = len(cells), len(header)
    if any(cell.startswith(_SPACES) and (_is_quoted(cell) or _opens(cell)) for cell in cells):
        return _space_before_quote(file, line)
    if found == expected + 1 and not cells[-1].strip():
        return invalid_data(
            f"{place(file.uri, line)}: the line ends in a comma, and the header does not; remove the commas at the ends"
            " of lines (`sed 's/,\\r*$//' in > out`)"
        )
    if found == expected - 1 and not header[-1].strip():
        return invalid_data(
            f"{place(file.uri, line)}: the header ends in a comma, and this line does not; remove the comma at the end"
            " of the header"
        )
    return invalid_data(
        f"{place(file.uri, line)}: the row has {plural(found, 'cell')}, the header has {expected};"
        ' put a cell that holds a comma or a line end into quotes (")'
    )
