"""What an evaluation comes to on some of its rows."""

from collections.abc import Mapping

import numpy as np
import torch

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.figures import Interval, SliceRecord
from kubetune_trainer.tasks.base import Losses, MicroBatch, Tally, TrainingTask
from kubetune_trainer.training.exchange import sum_over_ranks
from kubetune_trainer.training.parts import part_of


class Slices:
    """The tallies of the slices of a split, of the rows that this rank has taken through the model."""

    def __init__(self, task: TrainingTask, split: EncodedSplit, space: object) -> None:
        self._task, self._split, self._space = task, split, space
        self._sums: dict[str, Tally] = {}

    def add(self, losses: Losses, batch: MicroBatch, tally: Tally) -> None:
        """Adds the rows of a batch, whose whole tally this is."""
        for name, mask in self._split.slices.items():
            # Every rank needs the shapes.
            sums = self._sums.setdefault(
                name, {key: torch.zeros_like(counts).double() for key, counts in tally.items()}
            )
            places = np.flatnonzero(mask[batch.rows]).tolist()
            if places:
                counted = self._task.tally(*part_of(losses, batch, places), self._space)
                self._sums[name] = {key: sums[key] + counts for key, counts in counted.items()}

    def records(self, space: object, intervals: Mapping[str, dict[str, Interval]]) -> tuple[SliceRecord, ...]:
        """The metrics of each slice that has a row in the split, with the intervals that are given by its name.

        `space` has what the whole split has decided.
        """
        if not self._sums:
            return ()
        flat = sum_over_ranks(
            {f"{name}/{key}": sums for name, tally in self._sums.items() for key, sums in tally.items()}
        )
        found = []
        for name, tally in self._sums.items():
            rows = int(self._split.slices[name].sum())
            sums = {key: flat[f"{name}/{key}"] for key in tally}
            # A task may not look at every row.
            if rows and any(counts.any() for counts in sums.values()):
                metrics = self._task.measure(sums, space).metrics
                found.append(SliceRecord(name, rows, metrics, intervals.get(name, {})))
        return tuple(found)
