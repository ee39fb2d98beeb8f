"""Parquet: the values of the wanted columns, row by row; no other column is read from the file."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from kubetune_trainer.data.rows import Column, place
from kubetune_trainer.data.streams import refuse_bomb
from kubetune_trainer.data.values import missing_column, quoted, refuse_double_column
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile

_DATASETS, _CLASSES = b"huggingface", "ClassLabel"
"""The key of a file's metadata for the library of datasets, and its type for classes."""
BATCH_ROWS = 1024
"""Rows unpacked at a time."""


def parquet_records(file: LocalFile, columns: Sequence[Column]) -> Generator[tuple[int, list[object]]]:
    """(row, the values in the order of `columns`), rows counted from 1."""
    first, expanded, names = 1, 0, _class_names(file)
    for batch in _batches(file, columns):
        expanded += batch.nbytes
        refuse_bomb(file, expanded)
        arrays = [batch.column(column.name) for column in columns]
        # Value by value: a dictionary may hold one huge text that each of the rows repeats.
        for index in range(batch.num_rows):
            row = first + index
            cells = [_value(array[index], file, row, column) for array, column in zip(arrays, columns, strict=True)]
            if names:
                cells = [_named(cell, names, column, file, row) for cell, column in zip(cells, columns, strict=True)]
            yield row, cells
        first += batch.num_rows


def _class_names(file: LocalFile) -> dict[str, list[str]]:
    """The names of classes by column, where the datasets library has written integers in their place."""
    try:
        metadata = pq.read_schema(file.path).metadata or {}
        features = json.loads(metadata.get(_DATASETS, b"{}"))["info"]["features"]
        # Older files have lists where a column holds lists.
        named = {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == _CLASSES
        }
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}  # somebody else's metadata; a file that cannot be read is refused where its rows are
    return {column: names for column, names in named.items() if _are_names(names)}


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _named(cell: object, classes: Mapping[str, list[str]], column: Column, file: LocalFile, row: int) -> object:
    """The name of a class in the place of its number; -1 is a missing value."""
    names = classes.get(column.name)
    if names is None or not isinstance(cell, int) or isinstance(cell, bool):
        return cell
    if not -1 <= cell < len(names):
        raise invalid_data(
            f"{place(file.uri, row)}: the column {quoted(column.name)} ({column.field}) holds {cell}, and the file's"
            f" own names of its classes are for 0 to {len(names) - 1}; correct the value, and write the file again"
        )
    return None if cell == -1 else names[cell]


def _batches(file: LocalFile, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    try:
        schema = pq.read_schema(file.path)
        for column in columns:
            if column.name not in schema.names:
                raise missing_column(column, file.uri, schema.names)
            refuse_double_column(column, file.uri, schema.names)
        names = [column.name for column in columns]
        texts = [name for name in names if pa.types.is_string(schema.field(name).type)]
        with pq.ParquetFile(file.path, read_dictionary=texts) as parquet:
            # Before the first batch: one page alone may fill the memory.
            refuse_bomb(file, _unpacked(parquet.metadata, names))
            yield from parquet.iter_batches(batch_size=BATCH_ROWS, columns=names)
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
