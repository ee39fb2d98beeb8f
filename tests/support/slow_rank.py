"""A training of which one rank is slower than the others."""

import time
from typing import Any

import torch.distributed as dist

from kubetune_trainer.tasks.base import Losses
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.watchdog.beats import Beat, Beats, Sender
from kubetune_trainer.watchdog.pulse import PULSE
from support.tiny_models import PAD
from support.training_cases import BATCH, Case

SLOW = 1


class _Slow(CausalLanguageModel):
    """The rank of that number takes 0.2 seconds more for each pass."""

    new_head = True  # nothing is evaluated before the training

    def losses(self, forward: Any, batch: Any, space: Any) -> Losses:
        if dist.get_rank() == SLOW:
            time.sleep(0.2)
        return super().losses(forward, batch, space)


def last_beat(case: Case) -> Beat:
    """That of each rank, behind its last step."""
    training, workers = case.training, dist.get_world_size()
    plan = BatchPlan(case.rows, BATCH, case.micro, workers, training.epochs, case.steps)
    engine = build_engine(case.model, training, plan, case.resolved(workers), Device("cpu"))
    task, splits = _Slow(), {"train": case.splits["train"]}
    Loop(engine, task, splits, Vocabulary(), case.spec, plan, PAD, lambda _: None).run()
    engine.destroy()
    return Beats(Sender(dist.get_rank(), "here"), lambda _: None, PULSE).next()
