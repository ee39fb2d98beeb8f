"""The API's tables with more rows, for as long as a test runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from kubetune_api.schema import structural_schema


@contextmanager
def more_rows(table: dict[str, Any], **rows: Any) -> Iterator[None]:
    """`with more_rows(TASKS, Grading=GRADING):`: schemas that were made before are made anew, and so afterwards."""
    with patch.dict(table, rows):
        structural_schema.cache_clear()
        try:
            yield
        finally:
            structural_schema.cache_clear()
