"""How far an evaluation would differ on other rows: what it comes to on rows drawn from its own, with replacement.

In each replicate a row counts as often as a random number says that follows from row and replicate alone (the Poisson
bootstrap), so the intervals do not depend on the number of workers, and two models that are judged on the same rows are
judged on the same replicates. A replicate is a sum of the tallies of its rows, and measured as the split itself is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kubetune_trainer.figures import Interval
from kubetune_trainer.tasks.base import Losses, MicroBatch, Tally, TrainingTask
from kubetune_trainer.training.parts import part_of

REPLICATES = 200
MOST_BYTES = 64 * 2**20
"""What the tallies of all replicates may take. Those of a classification of 150 labels do."""
MOST_BYTES_OF_SLICES = 8 * MOST_BYTES
"""What those of all slices may take together."""
_CONFIDENCE = (0.025, 0.975)
_FEWEST = 0.95
"""The part of the replicates in which a metric must be a number to have an interval."""

Arrays = dict[str, NDArray[np.float64]]


class Replicates:
    """The sums of the tallies of each replicate, of the rows that this rank has taken through the model."""

    def __init__(
        self, task: TrainingTask, space: object, slices: Mapping[str, NDArray[np.bool_]] | None = None
    ) -> None:
        self._task, self._space, self._masks = task, space, slices or {}
        self.slices = {name: Replicates(task, space) for name in self._masks}
        """The same of the rows of each slice; of nothing where all of them would take too much."""
        self.sums: Arrays = {}
        """By the tally's names: [replicates, …]."""
        self.rows = np.zeros(REPLICATES)
        """How many rows each replicate has."""

    def add(self, losses: Losses, batch: MicroBatch) -> None:
        """Adds the rows of a batch; of one without rows only the shapes."""
        alone = row_tallies(self._task, self._space, losses, batch)
        # A batch without rows has one that counts nothing.
        drawn = draws(batch.rows) if len(batch.rows) else np.zeros((REPLICATES, 1))
        self._take(alone, drawn)
        taken = _bytes(counts[0].size for counts in alone.values()) * len(self._masks)
        for name, mask in self._masks.items() if taken <= MOST_BYTES_OF_SLICES else ():
            inside = mask[batch.rows] if len(batch.rows) else 0.0
            self.slices[name]._take(alone, drawn * inside)

    def _take(self, alone: Arrays, drawn: NDArray[np.float64]) -> None:
        for name, counts in alone.items():
            sums = self.sums.setdefault(name, np.zeros((REPLICATES, *counts.shape[1:])))
            flat = counts.reshape(len(counts), -1)
            # Of a confusion matrix a row counts in one place.
            counted = np.flatnonzero(flat.any(axis=0))
            sums.reshape(REPLICATES, -1)[:, counted] += drawn @ flat[:, counted]
        self.rows += drawn.sum(axis=1)


def fits(tally: Tally) -> bool:
    """Whether the replicates of such a tally take no more than `MOST_BYTES`."""
    return _bytes(counts.numel() for counts in tally.values()) <= MOST_BYTES


def _bytes(sizes: Iterable[int]) -> int:
    return REPLICATES * 8 * sum(sizes)


def draws(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """[replicates, rows]: how often each row of the split counts in each replicate; on average once."""
    each = (np.random.Generator(np.random.Philox(key=row)).poisson(1.0, REPLICATES) for row in rows.tolist())
    return np.stack(list(each), axis=1).astype(np.float64)


def row_tallies(task: TrainingTask, space: object, losses: Losses, batch: MicroBatch) -> Arrays:
    """The tally of each row of a batch by itself, by name: [rows, …]."""
    # Many small steps: not on a GPU.
    here = Losses(losses.judged.cpu(), losses.outputs.cpu()), MicroBatch({}, batch.targets.cpu(), batch.rows)
    found = [task.tally(*part_of(*here, [place]), space) for place in range(len(batch.targets))]
    return {name: torch.stack([tally[name].double() for tally in found]).numpy() for name in found[0]}


def intervals_of_means(rows: Sequence[int], values: Mapping[str, NDArray[np.float64]]) -> dict[str, Interval]:
    """The middle 95 % of what the mean of each is in the replicates: of anchors that search among the same texts. The
    rows are compared with each other, so none of these could be drawn more than once."""
    if not rows:
        return {}
    drawn = draws(np.array(rows, dtype=np.int64))
    drawn = drawn[drawn.any(axis=1)]
    found = {name: drawn @ of_rows / drawn.sum(axis=1) for name, of_rows in values.items()}
    return {name: Interval(*np.quantile(means, _CONFIDENCE).tolist()) for name, means in found.items()}


def intervals(
    sums: Mapping[str, NDArray[np.float64]],
    rows: NDArray[np.float64],
    measure: Callable[[Arrays], Mapping[str, float]],
) -> dict[str, Interval]:
    """The middle 95 % of what each metric is in the replicates; none of one that is often no number."""
    with np.errstate(all="ignore"):
        found = [
            measure({name: counts[replicate] for name, counts in sums.items()}) for replicate in np.flatnonzero(rows)
        ]
    values = {name: np.array([metrics[name] for metrics in found]) for name in (found[0] if found else ())}
    finite = {name: of_each[np.isfinite(of_each)] for name, of_each in values.items()}
    return {
        name: Interval(*np.quantile(numbers, _CONFIDENCE).tolist())
        for name, numbers in finite.items()
        if len(numbers) >= _FEWEST * REPLICATES
    }
