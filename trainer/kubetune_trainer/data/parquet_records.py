"""Parquet: the values of the wanted columns, row by row; no other column is read from the file."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from kubetune_trainer.data.rows import Column, place
from kubetune_trainer.data.streams import refuse_bomb
from kubetune_trainer.data.values import missing_column, quoted, refuse_double_column
from kubetune_trainer.errors import RunError, invalid_data
from kubetune_trainer.records import LocalFile

BATCH_ROWS = 1024
"""Rows unpacked at a time."""


def parquet_records(file: LocalFile, columns: Sequence[Column]) -> Iterator[tuple[int, tuple[object, ...]]]:
    """(row, the values in the order of `columns`), rows counted from 1."""
    row, expanded = 1, 0
    names = [column.name for column in columns]
    for batch in _batches(file, columns, names):
        expanded += batch.nbytes
        refuse_bomb(file, expanded)
        values = [_values(batch.column(name), file, row, name) for name in names]
        for record in zip(*values, strict=True):
            yield row, record
            row += 1


def _batches(file: LocalFile, columns: Sequence[Column], names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        # A dictionary keeps a text that is repeated a million times once in memory.
        with pq.ParquetFile(file.path, read_dictionary=names) as parquet:
            present = parquet.schema_arrow.names
            for column in columns:
                if column.name not in present:
                    raise missing_column(column, file.uri, present)
                refuse_double_column(column, file.uri, present)
            yield from parquet.iter_batches(batch_size=BATCH_ROWS, columns=names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from error


def _values(array: pa.Array, file: LocalFile, row: int, name: str) -> list[object]:
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        bad = next(index for index, value in enumerate(array) if not _is_text(value))
        raise invalid_data(
            f"{place(file.uri, row + bad)}: the column {quoted(name)} holds bytes that are not UTF-8;"
            " write the file again with UTF-8 strings"
        ) from None


def _is_text(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def _damaged(file: LocalFile, error: Exception) -> RunError:
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return invalid_data(f"{file.uri}: not a readable Parquet file ({detail}); upload it again")
