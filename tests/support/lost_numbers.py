"""Trainings in which one rank loses a number in one step: in the gradients, or in the loss itself."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist

from kubetune_api.job import Freeze
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods.full import Full
from kubetune_trainer.records import StepRecord
from kubetune_trainer.tasks.base import Losses
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop
from support.tiny_models import PAD
from support.training_cases import BATCH, Case

GOOD_STEPS = 2


@dataclass(frozen=True)
class Lost:
    """What came of one training, as one rank saw it."""

    reason: str
    message: str
    steps: int
    """Those that were recorded."""
    unspoiled: bool
    """Whether the weights are those that the last recorded step left."""


class _LostInGradients(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, rows: torch.Tensor) -> torch.Tensor:
        return rows.clone()

    @staticmethod
    def backward(_: Any, gradients: torch.Tensor) -> torch.Tensor:
        return gradients * float("inf")


class _Losing(CausalLanguageModel):
    """The last rank loses the number in the last pass of the step after the good ones."""

    new_head = True  # nothing is evaluated before the training

    def __init__(self, passes: int, *, in_loss: bool) -> None:
        self._left, self._in_loss = passes * (GOOD_STEPS + 1), in_loss

    def losses(self, forward: Any, batch: Any, space: Any) -> Losses:
        found = super().losses(forward, batch, space)
        self._left -= 1
        if self._left or dist.get_rank() + 1 != dist.get_world_size():
            return found
        return Losses(found.rows * float("nan") if self._in_loss else _LostInGradients.apply(found.rows), found.outputs)


Where = Literal["loss", "gradients"]


def lose_in_each(cases: list[tuple[Case, Where]]) -> dict[tuple[Case, Where], Lost]:
    """Trains one case after the other until it ends so; every rank of a group calls it."""
    return {(case, where): _lose(case, where) for case, where in cases}


def _lose(case: Case, where: Where) -> Lost:
    training, workers = case.training, dist.get_world_size()
    plan = BatchPlan(case.rows, BATCH, case.micro, workers, training.epochs, case.steps)
    engine = build_engine(case.model, training, plan, case.resolved(workers), Device("cpu"))
    after: list[dict[str, torch.Tensor]] = []

    def weights(*_: object) -> None:
        after.append(dict(Full(Freeze()).tensors(engine)))

    task = _Losing(plan.accumulation_steps, in_loss=where == "loss")
    loop = Loop(engine, task, {"train": case.splits["train"]}, Vocabulary(), case.spec, plan, PAD, weights)
    try:
        loop.run()
    except RunError as error:
        weights()
        engine.destroy()
        same = all(torch.equal(tensor, after[-2][name]) for name, tensor in after[-1].items())
        return Lost(error.reason, error.message, len(after) - 1, same)
    raise AssertionError("the training went on")


def overflow_in_each(cases: list[Case]) -> dict[Case, tuple[list[float], list[float]]]:
    """The losses of each training without an error, and of the same with gradients that are lost once; every rank of a
    group calls it."""
    return {case: (_losses(case, overflows=False), _losses(case, overflows=True)) for case in cases}


def _losses(case: Case, *, overflows: bool) -> list[float]:
    training, workers = case.training, dist.get_world_size()
    plan = BatchPlan(case.rows, BATCH, case.micro, workers, training.epochs, case.steps)
    engine = build_engine(case.model, training, plan, case.resolved(workers), Device("cpu"))
    records: list[Any] = []
    task = _Losing(plan.accumulation_steps if overflows else 10**9, in_loss=False)
    Loop(engine, task, {"train": case.splits["train"]}, Vocabulary(), case.spec, plan, PAD, records.append).run()
    engine.destroy()
    return [record.loss for record in records if isinstance(record, StepRecord)]
