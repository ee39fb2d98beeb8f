"""Evaluation of a split over all ranks: a sum of counts, so that no rank ever holds all rows."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from kubetune_trainer.data.prepared import EncodedSplit, TargetSpace
from kubetune_trainer.figures import Interval, SliceRecord
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.shown_rows import WorstRow
from kubetune_trainer.tasks.base import Measured, Tally, TrainingTask
from kubetune_trainer.training.batches import split_for_evaluation
from kubetune_trainer.training.bootstrap import Replicates, fits, intervals
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.exchange import sum_over_ranks
from kubetune_trainer.training.slices import Slices
from kubetune_trainer.training.worst import WorstRows


@dataclass(frozen=True)
class Judged:
    """What an evaluation came to."""

    measured: Measured
    intervals: dict[str, Interval] = field(default_factory=dict)
    worst: tuple[WorstRow, ...] = ()
    slices: tuple[SliceRecord, ...] = ()

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
) -> Judged:
    """Judges the model on a split; every rank takes a share and gets the whole result.

    `final`: the weights are those that are published, so that it is also told how sure the result is, and which rows
    are the worst, and what it comes to on each slice. All of it costs more than the metrics alone.
    """
    engine.eval()
    rank, workers = dist.get_rank(), dist.get_world_size()
    tallies: Tally = {}
    worst, slices, drawn = WorstRows(task, split), Slices(task, split, space), Replicates(task, space, split.slices)
    for shares in split_for_evaluation(split.longest, micro_batch_size, workers):
        # Under ZeRO-3 a rank without rows must still take its part in the forward pass; its targets are ignored.
        batch = collate(split, shares[rank], pad_token, engine.device)
        losses = task.losses(engine, batch, space)
        tally = task.tally(losses, batch, space)
        for name, counts in tally.items():
            tallies[name] = tallies[name] + counts if name in tallies else counts.double()
        if final:
            worst.add(losses, batch)
            slices.add(losses, batch, tally)
        # What rows come to that are compared with each other is no sum over rows.
        if final and fits(tally) and not split.compares_rows:
            drawn.add(losses, batch)
    engine.train()
    measured = task.measure(sum_over_ranks(tallies), space)
    if not final:
        return Judged(measured)
    space = measured.settled or space
    whole, *parts = (_intervals(each, task, space, engine.device) for each in (drawn, *drawn.slices.values()))
    found = slices.records(space, dict(zip(drawn.slices, parts, strict=True)))
    return Judged(measured, whole, worst.of_all_ranks(space), found)


def _intervals(replicates: Replicates, task: TrainingTask, space: TargetSpace, device: Any) -> dict[str, Interval]:
    if not replicates.sums:
        return {}
    flat = {"": replicates.rows, **replicates.sums}
    sums = sum_over_ranks({name: torch.from_numpy(counts).to(device) for name, counts in flat.items()})
    return intervals(sums, sums.pop(""), lambda tally: task.measure(tally, space).metrics)
