"""The whole way from files to encoded splits."""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data import clean, labels
from kubetune_trainer.data.clean import Cleaner, Counts
from kubetune_trainer.data.encode import encode_completions, encode_texts
from kubetune_trainer.data.held_out import FIELDS, divide
from kubetune_trainer.data.prepared import EncodedSplit, PreparedData
from kubetune_trainer.data.read import read
from kubetune_trainer.data.rows import ColumnMap, Row
from kubetune_trainer.data.tokens import Tokens
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import DataReport, LocalFile, SplitReport


def prepare(
    spec: FineTuneJobSpec, files: Mapping[str, Sequence[LocalFile]], tokenizer: Any, max_length: int
) -> PreparedData:
    """Reads, cleans, splits and tokenizes the data of a job.

    `files` holds those of `spec.dataset.uri` as "train", and of the separate datasets as "validation" and "test".
    `tokenizer` is a fast one of transformers; `max_length` is in tokens, the model's own limit considered.
    Raises RunError(InvalidData) with the place and the remedy.
    """
    columns = ColumnMap.of(spec)
    sources, counts, rows_read = _cleaned(spec, files, columns)
    names = _labels(spec, sources, columns)
    splits = divide(spec, sources, counts)
    if names:
        labels.refuse_untaught(splits["train"], names, given=spec.task.labels is not None)
    encoded, reports = {}, []
    encode = encode_texts if columns.label else encode_completions
    for name, rows in splits.items():
        tokens = encode(rows, tokenizer, max_length)
        taught = _taught(name, rows, tokens, max_length, counts)
        encoded[name] = _encoded(tokens, taught, names)
        reports.append(_report(name, taught, tokens, names))
    stored = tuple(file.stored for source in files.values() for file in source)
    report = DataReport(stored, rows_read, clean.steps_of(counts), tuple(reports), names)
    return PreparedData(encoded, names, report)


def _cleaned(
    spec: FineTuneJobSpec, files: Mapping[str, Sequence[LocalFile]], columns: ColumnMap
) -> tuple[dict[str, list[Row]], Counts, int]:
    cleaner = Cleaner(spec.dataset.cleaning, columns, spec.task.labels)
    sources, total, rows_read = {}, Counts(), 0
    for name, source in files.items():
        rows = read(source, columns, FIELDS[name])
        kept, counts = cleaner.clean(rows)
        clean.refuse_nothing_left(kept, len(rows), counts, FIELDS[name])
        sources[name] = kept
        total.update(counts)
        rows_read += len(rows)
    return sources, total, rows_read


def _labels(spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], columns: ColumnMap) -> tuple[str, ...]:
    """The labels of a classification, which every source must keep to; none for CausalLM."""
    if columns.label is None:
        return ()
    names = labels.label_set(sources["train"], spec.task.labels, columns.label)
    for source, rows in sources.items():
        labels.refuse_unknown(rows, names, source, given=spec.task.labels is not None)
    return names


def _taught(name: str, rows: Sequence[Row], tokens: Tokens, max_length: int, counts: Counts) -> list[Row]:
    """The rows that have something left to teach once they are cut."""
    taught = list(compress(rows, tokens.kept))
    if len(taught) < len(rows):
        counts[clean.NO_TARGET] += len(rows) - len(taught)
    if not taught:
        raise invalid_data(
            f"spec.task.maxLength: no row of the {name} split has a token left to learn from: at {max_length:,} tokens"
            " (the model's own limit considered) each is cut before its completion begins; raise it, or shorten the"
            " prompts"
        )
    return taught


def _encoded(tokens: Tokens, rows: Sequence[Row], names: Sequence[str]) -> EncodedSplit:
    if not names:
        return EncodedSplit(tokens.tokens, tokens.token_types, tokens.offsets, target_from=tokens.target_from)
    index = {name: position for position, name in enumerate(names)}
    classes = np.fromiter((index[row.label or ""] for row in rows), dtype=np.int32, count=len(rows))
    return EncodedSplit(tokens.tokens, tokens.token_types, tokens.offsets, labels=classes)


def _report(name: str, rows: Sequence[Row], tokens: Tokens, names: Sequence[str]) -> SplitReport:
    return SplitReport(
        name=name,
        rows=len(rows),
        tokens=len(tokens.tokens),
        longest=int(np.diff(tokens.offsets).max(initial=0)),
        truncated=tokens.truncated,
        label_rows=labels.label_rows(rows, names),
    )
