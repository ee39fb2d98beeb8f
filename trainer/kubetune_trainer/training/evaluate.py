"""Evaluation of a split over all ranks: a sum of counts, so that no rank ever holds all rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from kubetune_trainer.data.prepared import EncodedSplit, TargetSpace
from kubetune_trainer.tasks.base import Measured, Tally, TrainingTask
from kubetune_trainer.training.batches import split_for_evaluation
from kubetune_trainer.training.collate import collate


@torch.no_grad()
def evaluate(
    engine: Any, task: TrainingTask, split: EncodedSplit, space: TargetSpace, *, pad_token: int, micro_batch_size: int
) -> Measured:
    """Judges the model on a split; every rank takes a share and gets the whole result."""
    engine.eval()
    rank, workers = dist.get_rank(), dist.get_world_size()
    tallies: Tally = {}
    for shares in split_for_evaluation(split.longest, micro_batch_size, workers):
        # Under ZeRO-3 a rank without rows must still take its part in the forward pass; its targets are ignored.
        batch = collate(split, shares[rank], pad_token, engine.device)
        for name, counts in task.tally(task.losses(engine, batch, space), batch, space).items():
            tallies[name] = tallies[name] + counts if name in tallies else counts.double()
    engine.train()
    return task.measure(_sum_over_ranks(tallies), space)


def _sum_over_ranks(tallies: Tally) -> dict[str, NDArray[np.float64]]:
    """In one exchange. Counts are exact in a double up to 2 to the power of 53."""
    flat = torch.cat([counts.reshape(-1) for counts in tallies.values()])
    dist.all_reduce(flat)
    ends: Sequence[int] = np.cumsum([counts.numel() for counts in tallies.values()])[:-1].tolist()
    parts = np.split(flat.cpu().numpy(), ends)
    return {name: part.reshape(counts.shape) for (name, counts), part in zip(tallies.items(), parts, strict=True)}
