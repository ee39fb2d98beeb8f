"""The rows of a split that a model does worst on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.shown_rows import WorstRow
from kubetune_trainer.tasks.base import Answering, Losses, MicroBatch, TrainingTask
from kubetune_trainer.training.exchange import of_all_ranks
from kubetune_trainer.training.parts import part_of

MOST_ROWS = 50


@dataclass(frozen=True)
class _Held:
    """One of them, before it is known how its answer is read."""

    row: int
    loss: float
    part: tuple[Losses, MicroBatch] | None
    """What the model came to on it, where its task can say that in words."""


_Row = TypeVar("_Row", WorstRow, _Held)


class WorstRows:
    """Those with the greatest loss per target of all that this rank has taken through the model."""

    def __init__(self, task: TrainingTask, split: EncodedSplit) -> None:
        self._task, self._split = task, split
        self._held: list[_Held] = []

    @cached_property
    def _targets(self) -> NDArray[np.int64]:
        return self._split.targets.per_row(self._split)

    def add(self, losses: Losses, batch: MicroBatch) -> None:
        """Looks at the rows of a batch."""
        sums = losses.judged[: len(batch.rows)].tolist()
        targets = self._targets[batch.rows].tolist()
        means = [total / count if count else -math.inf for total, count in zip(sums, targets, strict=True)]
        places = sorted(range(len(means)), key=lambda place: _badness(means[place]), reverse=True)[:MOST_ROWS]
        answering = isinstance(self._task, Answering)
        rows = [
            _Held(int(batch.rows[place]), means[place], part_of(losses, batch, [place]) if answering else None)
            for place in places
            if targets[place]
        ]
        self._held = _worst([*self._held, *rows])

    def of_this_rank(self, space: object) -> list[WorstRow]:
        """The worst of this rank, with the answers that follow from what the split has decided."""
        return [WorstRow(held.row, held.loss, self._said(held, space)) for held in self._held]

    def _said(self, held: _Held, space: object) -> str | None:
        if held.part is None or not isinstance(self._task, Answering):
            return None
        return self._task.answers(*held.part, space)[0]

    def of_all_ranks(self, space: object) -> tuple[WorstRow, ...]:
        """The worst of all ranks, the worst first."""
        return tuple(_worst(of_all_ranks(self.of_this_rank(space))))


def _worst(rows: Sequence[_Row]) -> list[_Row]:
    return sorted(rows, key=lambda row: (-_badness(row.loss), row.row))[:MOST_ROWS]


def _badness(loss: float) -> float:
    """No loss is worse than one that is no number."""
    return math.inf if math.isnan(loss) else loss
