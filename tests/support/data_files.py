"""Datasets in files of a test's own folder, and specs that name them."""

import bz2
import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.records import LocalFile

REVIEWS = {"text": "text", "label": "label"}
CLAUSES = {"text": "text", "labels": "labels"}
RATINGS = {"text": "text", "value": "value"}
QUESTIONS = {"prompt": "question", "completion": "answer"}
_PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress}


def local_file(folder: Path, name: str, content: str | bytes) -> LocalFile:
    """A file as the storage hands it over: the name of its URI tells the format, its path does not."""
    raw = content.encode() if isinstance(content, str) else content
    raw = _PACKERS.get(Path(name).suffix, bytes)(raw)
    return packed_file(folder, name, raw)


def packed_file(folder: Path, name: str, raw: bytes) -> LocalFile:
    """The same with the bytes exactly as given."""
    digest = hashlib.sha256(raw).hexdigest()
    path = folder / hashlib.sha256(name.encode()).hexdigest()
    path.write_bytes(raw)
    return LocalFile(path, f"s3://data/{name}", len(raw), digest)


def csv_text(rows: Sequence[Sequence[Any]], header: Sequence[str] = ("text", "label")) -> str:
    """The rows as csv's own writer puts them."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    return buffer.getvalue()


def with_classes(names: list[str], **columns: Any) -> bytes:
    """A Parquet file as the datasets library writes it: the names of the classes are in its metadata."""
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}
    table, buffer = pa.table(columns), io.BytesIO()
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


def jsonl_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """One object per line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def classification(*, task: Mapping[str, Any] | None = None, **dataset: Any) -> FineTuneJobSpec:
    """A job over the columns `text` and `label`; `dataset` holds fields of `spec.dataset`."""
    return _spec({"type": "SequenceClassification", **(task or {})}, {"columns": REVIEWS, **dataset})


def multi_label(*, task: Mapping[str, Any] | None = None, **dataset: Any) -> FineTuneJobSpec:
    """A job over the columns `text` and `labels`."""
    return _spec({"type": "MultiLabelClassification", **(task or {})}, {"columns": CLAUSES, **dataset})


def regression(*, task: Mapping[str, Any] | None = None, **dataset: Any) -> FineTuneJobSpec:
    """A job over the columns `text` and `value`."""
    return _spec({"type": "SequenceRegression", **(task or {})}, {"columns": RATINGS, **dataset})


def causal(*, task: Mapping[str, Any] | None = None, **dataset: Any) -> FineTuneJobSpec:
    """A job over the columns `question` and `answer`."""
    return _spec({"type": "CausalLM", **(task or {})}, {"columns": QUESTIONS, **dataset})


def conversations(**dataset: Any) -> FineTuneJobSpec:
    """A job over the column `turns`."""
    return _spec({"type": "CausalLM"}, {"columns": {"messages": "turns"}, **dataset})


def documents(*, evaluation: Mapping[str, Any] | None = None, **dataset: Any) -> FineTuneJobSpec:
    """A job over the texts of the column `body`."""
    return _spec({"type": "CausalLM"}, {"columns": {"text": "body"}, **dataset}, evaluation or {})


def tagging(columns: Mapping[str, str], *, task: Mapping[str, Any] | None = None, **dataset: Any) -> FineTuneJobSpec:
    """A job over words and their tags, or texts and their spans."""
    return _spec({"type": "TokenClassification", **(task or {})}, {"columns": columns, **dataset})


def _spec(
    task: Mapping[str, Any], dataset: Mapping[str, Any], evaluation: Mapping[str, Any] | None = None
) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate(
        {
            "model": {"uri": "file:///model"},
            "task": task,
            "dataset": {"uri": "s3://data/*", **dataset},
            "output": {"uri": "file:///results"},
            "evaluation": evaluation or {},
        }
    )
