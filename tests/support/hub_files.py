"""Stand-ins for datasets of the hub that examples name: a few rows in files and columns of the same names and types."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO, StringIO
from itertools import count, islice

import pyarrow
from pyarrow import parquet

from support.sample_rows import sample_rows

_FIRST, _FEW = 48, 16
"""Rows of a training file, and of a file for validation or test."""


def files_of_the_hub(example: str) -> dict[str, bytes]:
    """The files of the dataset that the example of this name reads."""
    match example:
        case "mrpc":
            return {f"mrpc/{split}-00000-of-00001.parquet": _mrpc(texts) for split, texts in _splits()}
        case "finance-sentiment":
            return {f"sent_{split[:5]}.csv": _tweets(texts) for split, texts in _splits() if split != "test"}
        case "medical-questions":
            return {"medDataset_processed.csv": _questions(_texts(2 * _FIRST))}
        case "student-feedback":
            folder = "default/vietnamese_students_feedback"
            return {f"{folder}-{split}.parquet": _feedback(texts) for split, texts in _splits()}
    raise KeyError(example)


def _splits() -> Iterator[tuple[str, list[str]]]:
    texts = iter(_texts(_FIRST + 2 * _FEW))
    for split, rows in (("train", _FIRST), ("validation", _FEW), ("test", _FEW)):
        yield split, list(islice(texts, rows))


def _texts(rows: int) -> list[str]:
    return [row["text"] for row in sample_rows(rows)]


def _classes(number: int) -> Iterator[int]:
    return (row % number for row in count())


def _mrpc(texts: list[str]) -> bytes:
    columns = {"sentence1": texts, "sentence2": texts[::-1], "idx": list(range(len(texts)))}
    return _parquet(columns, {"label": ["not_equivalent", "equivalent"]})


def _tweets(texts: list[str]) -> bytes:
    return _csv(("text", "label"), zip(texts, _classes(3), strict=False))


def _questions(texts: list[str]) -> bytes:
    kinds = ("symptoms", "treatment", "information")
    pairs = zip(texts[::2], texts[1::2], strict=True)
    rows = ((kinds[number], *pair) for number, pair in zip(_classes(3), pairs, strict=False))
    return _csv(("qtype", "Question", "Answer"), rows)


def _feedback(texts: list[str]) -> bytes:
    topics = ["lecturer", "training_program", "facility", "others"]
    return _parquet({"sentence": texts}, {"sentiment": ["negative", "neutral", "positive"], "topic": topics})


def _parquet(columns: Mapping[str, Sequence[str | int]], classes: Mapping[str, list[str]]) -> bytes:
    """Columns, and classes, whose names are in the metadata as `datasets` writes them."""
    rows = len(next(iter(columns.values())))
    numbers = {name: pyarrow.array(islice(_classes(len(of)), rows), pyarrow.int64()) for name, of in classes.items()}
    features = {
        name: {"dtype": "string" if isinstance(values[0], str) else "int32", "_type": "Value"}
        for name, values in columns.items()
    } | {name: {"names": names, "_type": "ClassLabel"} for name, names in classes.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    file = BytesIO()
    parquet.write_table(pyarrow.table({**columns, **numbers}).replace_schema_metadata(metadata), file)
    return file.getvalue()


def _csv(header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> bytes:
    file = StringIO(newline="")
    csv.writer(file).writerows([header, *rows])
    return file.getvalue().encode()
