"""JSON Lines: the values of the wanted columns, object by object."""

import json
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

from kubetune_trainer.data.rows import Column, place
from kubetune_trainer.data.streams import lines
from kubetune_trainer.data.values import refuse_missing_columns
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile

_KINDS = {list: "list", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def jsonl_records(file: LocalFile, columns: Sequence[Column]) -> Generator[tuple[int, list[object]]]:
    """(line, the values in the order of `columns`) for each object.

    A key that a row lacks is a missing value; one that every row lacks is a missing column.
    """
    unseen = set(columns)
    present: dict[str, None] = {}
    with closing(lines(file)) as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            record = _parse(line, file, number)
            if unseen:
                unseen = {column for column in unseen if column.name not in record}
                present.update(dict.fromkeys(record))
            yield number, [record.get(column.name) for column in columns]
    if present:
        refuse_missing_columns(columns, file.uri, list(present))


def _parse(line: str, file: LocalFile, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise invalid_data(
            f"{place(file.uri, number)}: not valid JSON ({error.msg}, at character {error.pos + 1});"
            " a .jsonl file has one object per line"
        ) from error
    except (ValueError, RecursionError) as error:
        raise invalid_data(
            f"{place(file.uri, number)}: holds a number too long or a nesting too deep to read; remove it"
        ) from error
    if not isinstance(record, dict):
        raise invalid_data(
            f"{place(file.uri, number)}: the line is a JSON {_KINDS[type(record)]}; each line must be an object, one"
            " per row (`jq -c '.[]' in.json > out.jsonl` turns a list into lines)"
        )
    return record
