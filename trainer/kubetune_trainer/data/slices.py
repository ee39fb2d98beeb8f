"""Slices: held-out rows that are judged by themselves as well, by their values in a column."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from kubetune_api.job import FineTuneJobSpec, Slice
from kubetune_api.metrics import slice_of
from kubetune_api.tasks import TASKS
from kubetune_api.text import plural
from kubetune_trainer.data.labels import as_integer, listed_labels
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.values import bounded, kind_of, quoted
from kubetune_trainer.errors import invalid_data

Masks = dict[str, NDArray[np.bool_]]
"""By the slice's name: which rows of a split belong to it."""


def slice_fields(spec: FineTuneJobSpec, source: str) -> tuple[Field, ...]:
    """The column of each slice, where rows of this source are held out."""
    if source == "train" and not any(spec.dataset.held_out_fractions):
        return ()
    columns = [
        Column(one.column, f"spec.evaluation.slices[{n}].column") for n, one in enumerate(spec.evaluation.slices)
    ]
    return tuple(Field(column.name, column, value_of) for column in columns)


def value_of(value: object, column: Column, where: str) -> str | None:
    """A cell, as `values` writes it: `1` for a number without a fraction, `true` for a boolean."""
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case str():
            return bounded(value, column, where).strip()
        case Real() | Decimal():
            return as_integer(str(value))
        case _:
            raise invalid_data(
                f"{where}: the column {quoted(column.name)} ({column.field}) holds {kind_of(value)}; a slice is chosen"
                " by strings, numbers or booleans"
            )


def masks_of(slices: Sequence[Slice], rows: Sequence[Row]) -> Masks:
    """Which rows of a held-out split belong to each slice."""
    return {
        one.name: np.array([row.beside[place] in one.values for row in rows], dtype=np.bool_)
        for place, one in enumerate(slices)
    }


def refuse_empty(spec: FineTuneJobSpec, masks: Mapping[str, Masks], splits: Mapping[str, Sequence[Row]]) -> None:
    """RunError (INVALID_DATA) if a slice has no row in any held-out split, or in one whose metric is required."""
    required = {(metric.partition("/")[0], slice_of(metric)) for metric in _required(spec)}
    for place, one in enumerate(spec.evaluation.slices):
        empty = [split for split, of_split in masks.items() if not of_split[one.name].any()]
        if len(empty) == len(masks) or any((split, one.name) in required for split in empty):
            found = [row.beside[place] or "" for split in empty for row in splits[split]]
            raise invalid_data(
                f"spec.evaluation.slices[{place}]: no row of the {' or '.join(empty)} split has one of its values in"
                f" the column {quoted(one.column)}, which holds {listed_labels(Counter(found))}; correct `values`, hold"
                " out more rows, or remove the slice"
            )
    _refuse_unanswered(spec, masks)


def _refuse_unanswered(spec: FineTuneJobSpec, masks: Mapping[str, Masks]) -> None:
    """A required metric of answers needs a row of its slice among those that the model writes to."""
    generation = spec.evaluation.generation
    for place, metric in enumerate(_required(spec)):
        (split, *_), name = metric.split("/"), slice_of(metric)
        generated = metric.rpartition("/")[2] in TASKS[spec.task.type].generated_metrics
        if generation and name and generated and not masks[split][name][: generation.max_rows].any():
            raise invalid_data(
                f"spec.evaluation.require[{place}]: the model writes to the first {generation.max_rows:,} rows of the"
                f" {split} split, and none of them is of the slice {name}; raise spec.evaluation.generation.maxRows"
            )


def notes_of_slices(masks: Mapping[str, Masks]) -> Iterator[str]:
    """Which slices a split has no row of."""
    for split, of_split in masks.items():
        empty = [name for name, mask in of_split.items() if not mask.any()]
        if empty:
            yield f"the {split} split has no row of {plural(len(empty), 'slice')}: {', '.join(empty)}"


def _required(spec: FineTuneJobSpec) -> Iterator[str]:
    return (requirement.metric for requirement in spec.evaluation.require)
