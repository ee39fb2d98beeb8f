"""The whole way from files to encoded splits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data import clean
from kubetune_trainer.data.clean import Cleaner, Counts
from kubetune_trainer.data.held_out import FIELDS, make_splits
from kubetune_trainer.data.notes import notes_of_cleaning, notes_of_rows
from kubetune_trainer.data.prepared import Places, PreparedData
from kubetune_trainer.data.read import Classes, read
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.samples import samples_of
from kubetune_trainer.data.slices import masks_of, notes_of_slices, refuse_empty, slice_fields
from kubetune_trainer.data.task import DataTask
from kubetune_trainer.data.tokens import Encoded
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import DataReport, LocalFile, SplitReport


def prepare(
    task: DataTask, spec: FineTuneJobSpec, files: Mapping[str, Sequence[LocalFile]], tokenizer: Any, max_length: int
) -> PreparedData:
    """Reads, cleans, splits and tokenizes the data of a job for its task.

    `files` holds those of `spec.dataset.uri` as "train", and of the separate datasets as "validation" and "test".
    `tokenizer` is a fast one of transformers; `max_length` is in tokens, the model's own limit considered.
    Raises RunError(InvalidData) with the place and the remedy.
    """
    sources, classes, counts, rows_read = _cleaned(task, spec, files)
    space = task.space(spec, sources, classes)
    notes = [*notes_of_rows(task.fields(spec), sources), *task.data_notes(sources, tokenizer)]
    splits = make_splits(task, spec.dataset, sources, counts)
    space = task.refuse_untaught(spec, space, splits["train"]) or space
    encoded, places, masks, reports = {}, {}, {}, []
    for name, rows in splits.items():
        part = task.encode(rows, tokenizer, max_length, space)
        _refuse_nothing_taught(name, part, max_length)
        if lost := len(rows) - len(np.unique(part.sources)):
            counts[clean.NO_TARGET] += lost
        encoded[name] = part.split
        if name != "train":
            kept = [rows[source] for source in part.sources]
            places[name], masks[name] = Places.of_rows(kept), masks_of(spec.evaluation.slices, kept)
            encoded[name] = replace(part.split, slices=masks[name])
        reports.append(_report(name, part))
        notes += part.notes if name == "train" else ()
    refuse_empty(spec, masks, splits)
    steps = clean.steps_of(counts)
    report = DataReport(
        tuple(file.stored for source in files.values() for file in source),
        rows_read,
        steps,
        tuple(reports),
        space.labels,
        notes=(*notes, *notes_of_slices(masks), *notes_of_cleaning(steps, rows_read, max_length)),
        samples=samples_of(encoded["train"], space, tokenizer),
        fields=tuple(field.name for field in task.fields(spec)),
    )
    return PreparedData(encoded, space, report, places)


def _cleaned(
    task: DataTask, spec: FineTuneJobSpec, files: Mapping[str, Sequence[LocalFile]]
) -> tuple[dict[str, list[Row]], Classes, Counts, int]:
    fields = task.fields(spec)
    cleaner = Cleaner(spec.dataset.cleaning, fields)
    sources, classes, total, rows_read = {}, {}, Counts(), 0
    for name, source in files.items():
        rows, classes[name] = read(source, fields, FIELDS[name], slice_fields(spec, name))
        kept, counts = cleaner.clean(rows)
        clean.refuse_nothing_left(kept, len(rows), counts, FIELDS[name])
        sources[name] = kept
        total.update(counts)
        rows_read += len(rows)
    return sources, cleaner.clean_classes(classes["train"]), total, rows_read


def _refuse_nothing_taught(name: str, encoded: Encoded, max_length: int) -> None:
    """Raises if no row has something left to teach once it is cut."""
    if not encoded.split.rows:
        raise invalid_data(
            f"spec.task.maxLength: no row of the {name} split has a token left to learn from: at {max_length:,} tokens"
            " (the model's own limit considered) each is cut before its completion begins; raise it, or shorten the"
            " prompts"
        )


def _report(name: str, encoded: Encoded) -> SplitReport:
    split = encoded.split
    return SplitReport(
        name=name,
        rows=split.rows,
        tokens=len(split.tokens),
        longest=int(split.longest.max(initial=0)),
        truncated=encoded.truncated,
        label_rows=encoded.label_rows,
    )
