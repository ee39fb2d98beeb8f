"""What the model says of each row before it is trained, for losses that compare the two: once, for all rows and ranks.

An array of a fixed size, summed over the ranks like an evaluation, so that it works alike under every ZeRO stage.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from kubetune_trainer.data.prepared import EncodedSplit, TargetSpace
from kubetune_trainer.tasks.base import Referring, TrainingTask
from kubetune_trainer.training.batches import BatchPlan, Rows, split_by_tokens
from kubetune_trainer.training.collate import collate
from kubetune_trainer.underway import ReferenceProgress
from kubetune_trainer.watchdog.pulse import EVALUATING, PULSE, STARTING

_QUIET_SECONDS = 10.0
"""Between two times that it is told how many rows are left."""


def with_references(
    engine: Any,
    task: TrainingTask,
    splits: Mapping[str, EncodedSplit],
    space: TargetSpace,
    *,
    plan: BatchPlan,
    seed: int,
    pad_token: int,
    tell: Callable[[ReferenceProgress], object],
    clock: Callable[[], float] = monotonic,
) -> dict[str, EncodedSplit]:
    """The splits, with what their task wants to know of the untrained model, of the training split about the rows that
    the `plan` reaches. Every rank takes a share, and tells how far all of them are."""
    if not isinstance(task, Referring) or not task.refers(space):
        return dict(splits)
    engine.eval()
    found = {}
    for name, split in splits.items():
        rows = plan.reached(seed) if name == "train" else np.arange(split.rows, dtype=np.int64)
        asked = _Asked(name, rows, tell, clock)
        reference = _reference(engine, task, split, space, pad_token, plan.rows_of_any_length, asked)
        found[name] = replace(split, reference=reference)
    engine.train()
    return found


class _Asked:
    """The rows of a split that the model is asked about. It tells now and then of how many it was."""

    def __init__(
        self, split: str, rows: Rows, tell: Callable[[ReferenceProgress], object], clock: Callable[[], float]
    ) -> None:
        self.rows = rows
        self._split, self._of_rows, self._tell, self._clock = split, len(rows), tell, clock
        self._rows, self._due = 0, clock() + _QUIET_SECONDS
        tell(ReferenceProgress(split, 0, 0, self._of_rows))

    def add(self, rows: int) -> None:
        """So many more, those of all ranks together."""
        self._rows += rows
        if self._clock() >= self._due and self._rows < self._of_rows:
            self._due = self._clock() + _QUIET_SECONDS
            self._tell(ReferenceProgress(self._split, 0, self._rows, self._of_rows))


@torch.no_grad()
def _reference(
    engine: Any,
    task: Referring,
    split: EncodedSplit,
    space: TargetSpace,
    pad_token: int,
    micro_batch_size: int,
    asked: _Asked,
) -> Any:
    whole = torch.zeros(split.rows, len(split.parts), dtype=torch.float64, device=engine.device)
    lengths = split.longest[asked.rows]
    for shares in split_by_tokens(lengths, micro_batch_size * int(lengths.max()), dist.get_world_size()):
        PULSE.mark(EVALUATING)
        batch = collate(split, asked.rows[shares[dist.get_rank()]], pad_token, engine.device)
        values = task.reference(engine, batch, space)
        whole[torch.from_numpy(batch.rows).to(engine.device)] = values[: len(batch.rows)].double()
        asked.add(sum(map(len, shares)))
    dist.all_reduce(whole)
    PULSE.mark(STARTING)
    return whole.float().cpu().numpy()
