"""Parquet: the values of the wanted columns, row by row; no other column is read from the file."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from kubetune_trainer.data.classes import class_names
from kubetune_trainer.data.rows import Column, Table, place
from kubetune_trainer.data.streams import refuse_bomb
from kubetune_trainer.data.values import quoted, refuse_double_column, refuse_missing_columns
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile

BATCH_ROWS = 1024
"""Rows unpacked at a time."""


def parquet_table(file: LocalFile, columns: Sequence[Column]) -> Table:
    """The rows, counted from 1, and what the file's metadata says of its classes."""
    with _refused_if_unreadable(file):
        metadata = pq.read_metadata(file.path)
        schema = metadata.schema.to_arrow_schema()
    return Table(_records(file, columns, metadata, schema), class_names(schema.metadata))


def _records(
    file: LocalFile, columns: Sequence[Column], metadata: pq.FileMetaData, schema: pa.Schema
) -> Generator[tuple[int, list[object]]]:
    first, expanded = 1, 0
    for batch in _batches(file, columns, metadata, schema):
        expanded += batch.nbytes
        refuse_bomb(file, expanded)
        arrays = [batch.column(column.name) for column in columns]
        # Value by value: a dictionary may hold one huge text that each of the rows repeats.
        for index in range(batch.num_rows):
            row = first + index
            yield row, [_value(array[index], file, row, column) for array, column in zip(arrays, columns, strict=True)]
        first += batch.num_rows


def _batches(
    file: LocalFile, columns: Sequence[Column], metadata: pq.FileMetaData, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    refuse_missing_columns(columns, file.uri, schema.names)
    for column in columns:
        refuse_double_column(column, file.uri, schema.names)
    # Two fields may be of one column.
    names = list(dict.fromkeys(column.name for column in columns))
    texts = [name for name in names if pa.types.is_string(schema.field(name).type)]
    # Before the first batch: one page alone may fill the memory.
    refuse_bomb(file, _unpacked(metadata, names))
    with (
        _refused_if_unreadable(file),
        pq.ParquetFile(file.path, metadata=metadata, read_dictionary=texts) as parquet,
    ):
        yield from parquet.iter_batches(batch_size=BATCH_ROWS, columns=names)


@contextmanager
def _refused_if_unreadable(file: LocalFile) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise invalid_data(f"{file.uri}: not a readable Parquet file ({detail}); upload it again") from error


def _unpacked(metadata: pq.FileMetaData, names: Sequence[str]) -> int:
    """The bytes of the columns once they are decompressed, by the file's own account."""
    paths = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    wanted = [index for index, path in enumerate(paths) if any(f"{path}.".startswith(f"{name}.") for name in names)]
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return sum(group.column(index).total_uncompressed_size for group in groups for index in wanted)


def _value(scalar: pa.Scalar, file: LocalFile, row: int, column: Column) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        raise invalid_data(
            f"{place(file.uri, row)}: the column {quoted(column.name)} ({column.field}) holds bytes that are not UTF-8;"
            " write the file again with UTF-8 strings"
        ) from error
