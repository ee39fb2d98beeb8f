"""The API's tables with more rows, for as long as a test runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from kubetune_api.base import rules_of
from kubetune_api.schema import structural_schema


@contextmanager
def more_rows(table: dict[str, Any], **rows: Any) -> Iterator[None]:
    """`with more_rows(TASKS, Grading=GRADING):`: what was made of the rows before is made anew, and so afterwards."""
    with patch.dict(table, rows):
        _forget()
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    for made in (structural_schema, rules_of):
        made.cache_clear()
