"""Metrics of the user's own, of the first rows of a split: they want rows and not sums, so these are gathered."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api.metrics import CUSTOM
from kubetune_trainer.figures import SliceRecord
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.tasks.base import Compared, Comparing, Losses, MicroBatch, TrainingTask
from kubetune_trainer.tasks.custom_metrics import CustomMetric, TimeLimit, measured
from kubetune_trainer.training.exchange import of_all_ranks, of_rank_0
from kubetune_trainer.training.parts import part_of

MOST_ROWS = 10_000
"""The first rows of a split, which every rank holds for a moment."""

Numbered = Sequence[tuple[int, Compared]]
"""Rows by their numbers in the split."""


class ComparedRows:
    """What a model came to on those rows that this rank has taken through it."""

    def __init__(self, task: TrainingTask, *, wanted: bool) -> None:
        self._task = task if wanted and isinstance(task, Comparing) else None
        self._parts: list[tuple[Losses, MicroBatch]] = []

    def add(self, losses: Losses, batch: MicroBatch) -> None:
        """Keeps the rows of a batch."""
        places = np.flatnonzero(batch.rows < MOST_ROWS).tolist()
        if places and self._task:
            here = Losses(losses.judged.cpu(), losses.outputs.cpu()), MicroBatch({}, batch.targets.cpu(), batch.rows)
            self._parts.append(part_of(*here, places))

    def of_this_rank(self, space: Any) -> Numbered:
        """As the task tells them, by what the split has decided."""
        if self._task is None:
            return []
        return [
            (row, compared)
            for losses, batch in self._parts
            for row, compared in zip(batch.rows.tolist(), self._task.compared(losses, batch, space), strict=True)
        ]


def judge_custom(
    found: EvaluationRecord,
    metrics: Mapping[str, CustomMetric],
    own: Numbered,
    slices: Mapping[str, NDArray[np.bool_]],
) -> EvaluationRecord:
    """The evaluation with the user's metrics of it, from the rows of each rank. Every rank calls it."""
    rows = sorted(of_all_ranks(own), key=lambda one: one[0])
    return of_rank_0(lambda: _judged(found, metrics, rows, slices))


def _judged(
    found: EvaluationRecord,
    metrics: Mapping[str, CustomMetric],
    rows: Numbered,
    slices: Mapping[str, NDArray[np.bool_]],
) -> EvaluationRecord:
    limit = TimeLimit()
    values, problems = _values(metrics, [compared for _, compared in rows], limit)
    of_slices = []
    for one in found.slices:
        inside = [compared for row, compared in rows if slices[one.name][row]]
        # A metric need not have a number of few rows.
        values_there = _values(metrics, inside, limit)[0] if inside else {}
        of_slices.append(_with(one, values_there))
    notes = tuple(_NOTE.format(problem, found.split) for problem in problems)
    return replace(found, metrics={**found.metrics, **values}, slices=tuple(of_slices), notes=(*found.notes, *notes))


def _values(
    metrics: Mapping[str, CustomMetric], rows: Sequence[Compared], limit: TimeLimit
) -> tuple[dict[str, float], list[str]]:
    found = {name: measured(name, metric, rows, limit) for name, metric in metrics.items()}
    return {f"{CUSTOM}{name}": value for name, (value, _) in found.items()}, [why for _, why in found.values() if why]


def _with(one: SliceRecord, values: Mapping[str, float]) -> SliceRecord:
    return replace(one, metrics={**one.metrics, **values})


_NOTE = "spec.evaluation.metrics: {} on the {} split, so it has no value there; mend the function in its package"
