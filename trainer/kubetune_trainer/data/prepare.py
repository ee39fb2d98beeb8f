"""The whole way from files to encoded splits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data import clean, labels
from kubetune_trainer.data.clean import Cleaner, Counts
from kubetune_trainer.data.encode import Tokens, encode_texts
from kubetune_trainer.data.prepared import EncodedSplit, PreparedData
from kubetune_trainer.data.read import read
from kubetune_trainer.data.rows import ColumnMap, Row
from kubetune_trainer.data.split import prompt_key, split, text_key
from kubetune_trainer.records import DataReport, LocalFile, SplitReport, StoredFile

FIELDS = {"train": "spec.dataset.uri", "validation": "spec.dataset.validation.uri", "test": "spec.dataset.test.uri"}
"""The field of the manifest that names the files of each source."""


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
    splits = _split(spec, sources)
    if names:
        labels.refuse_untaught(splits["train"], names)
    encoded, reports = {}, []
    for name, rows in splits.items():
        tokens = encode_texts(rows, tokenizer, max_length)
        encoded[name] = _labelled(tokens, rows, names)
        reports.append(_report(name, rows, tokens, names))
    stored = tuple(StoredFile(file.uri, file.size, file.sha256) for source in files.values() for file in source)
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
    if columns.label is None:
        return ()
    names = labels.label_set(sources["train"], spec.task.labels, columns.label)
    for source in sources.keys() - {"train"}:
        labels.refuse_unknown(sources[source], names, source)
    return names


def _split(spec: FineTuneJobSpec, sources: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    dataset, causal = spec.dataset, spec.task.type == "CausalLM"
    validation, test = dataset.held_out_fractions
    return split(
        sources["train"],
        validation=validation,
        test=test,
        seed=dataset.split_seed,
        stratify=dataset.stratify and not causal,
        key=prompt_key if causal else text_key,
    )


def _labelled(tokens: Tokens, rows: Sequence[Row], names: Sequence[str]) -> EncodedSplit:
    index = {name: position for position, name in enumerate(names)}
    classes = np.fromiter((index[row.label or ""] for row in rows), dtype=np.int32, count=len(rows))
    return EncodedSplit(tokens.tokens, tokens.token_types, tokens.offsets, labels=classes)


def _report(name: str, rows: Sequence[Row], tokens: Tokens, names: Sequence[str]) -> SplitReport:
    return SplitReport(
        name=name,
        rows=len(rows),
        tokens=len(tokens.tokens),
        longest=int(np.diff(tokens.offsets).max(initial=0)),
        truncated=int(tokens.truncated.sum()),
        label_rows=labels.label_rows(rows, names),
    )
