"""The rows of a split that a model does worst on."""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.shown_rows import WorstRow
from kubetune_trainer.tasks.base import Answering, Losses, MicroBatch, TrainingTask
from kubetune_trainer.training.parts import part_of

MOST_ROWS = 50


class WorstRows:
    """Those with the greatest loss per target of all that this rank has taken through the model."""

    def __init__(self, task: TrainingTask, split: EncodedSplit, space: object) -> None:
        self._task, self._split, self._space = task, split, space
        self.found: list[WorstRow] = []

    @cached_property
    def _targets(self) -> NDArray[np.int64]:
        return self._split.targets.per_row(self._split)

    def add(self, losses: Losses, batch: MicroBatch) -> None:
        """Looks at the rows of a batch."""
        sums = losses.judged[: len(batch.rows)].tolist()
        targets = self._targets[batch.rows].tolist()
        means = [total / count if count else -math.inf for total, count in zip(sums, targets, strict=True)]
        places = sorted(range(len(means)), key=lambda place: _badness(means[place]), reverse=True)[:MOST_ROWS]
        said = self._said(*part_of(losses, batch, places))
        rows = [
            WorstRow(int(batch.rows[place]), means[place], answer)
            for place, answer in zip(places, said, strict=True)
            if targets[place]
        ]
        self.found = _worst([*self.found, *rows])

    def _said(self, losses: Losses, batch: MicroBatch) -> Sequence[str | None]:
        if not len(batch.rows) or not isinstance(self._task, Answering):
            return [None] * len(batch.rows)
        return self._task.answers(losses, self._space)

    def of_all_ranks(self) -> tuple[WorstRow, ...]:
        """The worst of all ranks, the worst first."""
        of_each: list[list[WorstRow]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(of_each, self.found)
        return tuple(_worst([row for rows in of_each for row in rows]))


def _worst(rows: Sequence[WorstRow]) -> list[WorstRow]:
    return sorted(rows, key=lambda row: (-_badness(row.loss), row.row))[:MOST_ROWS]


def _badness(loss: float) -> float:
    """No loss is worse than one that is no number."""
    return math.inf if math.isnan(loss) else loss
