"""Evaluation of a split over all ranks: a sum of counts, so that no rank ever holds all rows."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from kubetune_trainer.data.prepared import EncodedSplit, TargetSpace
from kubetune_trainer.figures import Interval, SliceRecord
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.shown_rows import WorstRow
from kubetune_trainer.tasks.base import Losses, Measured, MicroBatch, Tally, TrainingTask
from kubetune_trainer.training.batches import Rows, split_by_tokens, split_for_evaluation
from kubetune_trainer.training.bootstrap import Replicates, fits, intervals, intervals_of_means
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.custom import ComparedRows, Numbered
from kubetune_trainer.training.exchange import sum_over_ranks
from kubetune_trainer.training.slices import Slices
from kubetune_trainer.training.worst import WorstRows
from kubetune_trainer.watchdog.pulse import EVALUATING, MEASURING, PULSE


@dataclass(frozen=True)
class Judged:
    """What an evaluation came to."""

    measured: Measured
    intervals: dict[str, Interval] = field(default_factory=dict)
    worst: tuple[WorstRow, ...] = ()
    slices: tuple[SliceRecord, ...] = ()
    compared: Numbered = ()
    """What the user's own metrics compare, of the rows of this rank."""

    def record(self, split: str, step: int, epoch: float) -> EvaluationRecord:
        """For the report."""
        metrics, details = self.measured.metrics, self.measured.details
        return EvaluationRecord(split, step, epoch, metrics, details, self.intervals, self.worst, self.slices)


@torch.no_grad()
def evaluate(
    engine: Any,
    task: TrainingTask,
    split: EncodedSplit,
    space: TargetSpace,
    *,
    pad_token: int,
    micro_batch_size: int,
    final: bool = False,
    compares: bool = False,
) -> Judged:
    """Judges the model on a split; every rank takes a share and gets the whole result.

    `final`: the weights are those that are published, so all is told that a report shows, which costs more than the
    metrics alone. `compares`: rows are kept as well, for the user's own metrics.
    """
    engine.eval()
    rank, workers = dist.get_rank(), dist.get_world_size()
    tallies: Tally = {}
    beside = _Beside(task, split, space, compares=compares)
    for shares in _shared(split, micro_batch_size, workers):
        PULSE.mark(EVALUATING)
        # Under ZeRO-3 a rank without rows must still take its part in the forward pass; its targets are ignored.
        batch = collate(split, shares[rank], pad_token, engine.device)
        losses = task.losses(engine, batch, space)
        tally = task.tally(losses, batch, space)
        for name, counts in tally.items():
            tallies[name] = tallies[name] + counts if name in tallies else counts.double()
        if final:
            beside.add(losses, batch, tally)
    engine.train()
    summed = sum_over_ranks(tallies)
    PULSE.mark(MEASURING)
    measured = task.measure(summed, space)
    return beside.judged(measured, engine.device) if final else Judged(measured)


def _shared(split: EncodedSplit, micro_batch_size: int, workers: int) -> list[list[Rows]]:
    """No share has more tokens, padding included, than a micro-batch of the longest rows."""
    if split.compares_rows:
        return split_for_evaluation(split.longest, micro_batch_size, workers)
    # Of an encoder with a decoder, what is read or what is written is the longer one.
    lengths = np.maximum(split.longest, split.targets.per_row(split))
    return split_by_tokens(lengths, micro_batch_size * int(lengths.max()), workers)


class _Beside:
    """What a report shows beside the metrics."""

    def __init__(self, task: TrainingTask, split: EncodedSplit, space: TargetSpace, *, compares: bool) -> None:
        self._task, self._split, self._space = task, split, space
        self._worst, self._slices = WorstRows(task, split), Slices(task, split, space)
        self._drawn = Replicates(task, space, split.slices)
        self._compared = ComparedRows(task, wanted=compares)

    def add(self, losses: Losses, batch: MicroBatch, tally: Tally) -> None:
        """Looks at the rows of a batch, whose tally this is."""
        self._worst.add(losses, batch)
        self._slices.add(losses, batch, tally)
        self._compared.add(losses, batch)
        # What rows come to that are compared with each other is no sum over rows.
        if fits(tally) and not self._split.compares_rows:
            self._drawn.add(losses, batch)

    def judged(self, measured: Measured, device: Any) -> Judged:
        """The whole result, by what the split has decided."""
        space, drawn = measured.settled or self._space, self._drawn
        whole, *parts = (_intervals(each, self._task, space, device) for each in (drawn, *drawn.slices.values()))
        whole |= intervals_of_means([*measured.answers], measured.means)
        found = self._slices.records(space, dict(zip(drawn.slices, parts, strict=True)))
        worst = tuple(
            replace(one, answer=measured.answers.get(one.row, one.answer)) for one in self._worst.of_all_ranks(space)
        )
        compared = self._compared.of_this_rank(space)
        return Judged(measured, whole, worst, found, compared)


def _intervals(replicates: Replicates, task: TrainingTask, space: TargetSpace, device: Any) -> dict[str, Interval]:
    if not replicates.sums:
        return {}
    flat = {"": replicates.rows, **replicates.sums}
    sums = sum_over_ranks({name: torch.from_numpy(counts).to(device) for name, counts in flat.items()})
    return intervals(sums, sums.pop(""), lambda tally: task.measure(tally, space).metrics)
