"""One cell of the data: from whatever a file holds to a text, or an error with the place and the remedy."""

import difflib
from collections.abc import Sequence

from kubetune_api.tables import listed
from kubetune_trainer.data.rows import Column
from kubetune_trainer.data.streams import MAX_CELL_CHARACTERS
from kubetune_trainer.errors import invalid_data

SHOWN_COLUMNS = 20
SHOWN_CHARACTERS = 40


def text_of(value: object, column: Column, where: str) -> str | None:
    """A cell of a text column."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid_data(
            f"{where}: the column {quoted(column.name)} ({column.field}) holds {kind_of(value)};"
            " a text must be a string"
        )
    return bounded(value, column, where)


def refuse_missing_columns(columns: Sequence[Column], file: str, present: Sequence[str]) -> None:
    """Raises if the file lacks mapped columns, with all of them."""
    missing = [column for column in columns if column.name not in present]
    if not missing:
        return
    shown = ", ".join(quoted(name) for name in present[:SHOWN_COLUMNS]) or "none"
    more = f" and {len(present) - SHOWN_COLUMNS} more" if len(present) > SHOWN_COLUMNS else ""
    said = [f"{column.field}: there is no column {quoted(column.name)}" for column in missing]
    hint = _hint([column.name for column in missing], present)
    raise invalid_data(f"{'; '.join(said)} in {file}; its columns are {shown}{more}{hint}")


def refuse_double_column(column: Column, file: str, present: Sequence[str]) -> None:
    """Raises if the header names the column twice: nobody can tell which is meant."""
    if present.count(column.name) > 1:
        raise invalid_data(
            f"{column.field}: the column {quoted(column.name)} is {present.count(column.name)} times in the header"
            f" of {file}; rename all but one"
        )


def quoted(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """A text out of the data, short and on one line."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def bounded(text: str, column: Column, where: str) -> str:
    """The text, unless it is too long or holds what is no character."""
    if len(text) > MAX_CELL_CHARACTERS:
        raise invalid_data(
            f"{where}: the column {quoted(column.name)} ({column.field}) holds {len(text):,} characters in one cell;"
            f" at most {MAX_CELL_CHARACTERS:,} are read; shorten or split the text"
        )
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise invalid_data(
            f"{where}: the column {quoted(column.name)} ({column.field}) holds half of a surrogate pair (\\ud800 to"
            " \\udfff), which is not a character; write the data again from its source"
        )
    return text


def _hint(names: Sequence[str], present: Sequence[str]) -> str:
    if len(present) == 1 and any(separator in present[0] for separator in ";\t|"):
        return "; the values must be separated by commas"
    folded = {candidate.strip().casefold(): candidate for candidate in present}
    close = [difflib.get_close_matches(name.strip().casefold(), folded, n=1) for name in names]
    return f". Did you mean {listed([quoted(folded[found[0]]) for found in close if found])}?" if any(close) else ""


def kind_of(value: object) -> str:
    """What a cell holds, for messages: "a list"."""
    names = {bool: "a boolean", int: "an integer", float: "a number", list: "a list", dict: "an object", bytes: "bytes"}
    return names.get(type(value), f"a value of type {type(value).__name__}")
