"""What the model says of each row before it is trained, for losses that compare the two: once, for all rows and ranks.

An array of a fixed size, summed over the ranks like an evaluation, so that it works alike under every ZeRO stage.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from kubetune_trainer.data.prepared import EncodedSplit, TargetSpace
from kubetune_trainer.tasks.base import Referring, TrainingTask
from kubetune_trainer.training.batches import split_for_evaluation
from kubetune_trainer.training.collate import collate


def with_references(
    engine: Any,
    task: TrainingTask,
    splits: Mapping[str, EncodedSplit],
    space: TargetSpace,
    *,
    pad_token: int,
    micro_batch_size: int,
) -> dict[str, EncodedSplit]:
    """The splits, with what their task wants to know of the untrained model. Every rank takes a share."""
    if not isinstance(task, Referring) or not task.refers(space):
        return dict(splits)
    engine.eval()
    found = {
        name: replace(split, reference=_reference(engine, task, split, space, pad_token, micro_batch_size))
        for name, split in splits.items()
    }
    engine.train()
    return found


@torch.no_grad()
def _reference(
    engine: Any, task: Referring, split: EncodedSplit, space: TargetSpace, pad_token: int, micro_batch_size: int
) -> Any:
    whole = torch.zeros(split.rows, len(split.parts), dtype=torch.float64, device=engine.device)
    for shares in split_for_evaluation(split.longest, micro_batch_size, dist.get_world_size()):
        batch = collate(split, shares[dist.get_rank()], pad_token, engine.device)
        values = task.reference(engine, batch, space)
        whole[torch.from_numpy(batch.rows).to(engine.device)] = values[: len(batch.rows)].double()
    dist.all_reduce(whole)
    return whole.float().cpu().numpy()
