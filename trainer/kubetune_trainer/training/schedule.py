"""How the learning rate moves: transformers' schedules, by the names and settings of the manifest."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from kubetune_api.job import Schedule, Training
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError


def _decay_steps(schedule: Schedule, total_steps: int) -> int:
    return max(1, round(schedule.settings["decay_ratio"] * total_steps))


SCHEDULES: Mapping[str, tuple[str, Callable[[Schedule, int], dict[str, Any]]]] = {
    "Linear": ("linear", lambda _schedule, _total: {}),
    "Cosine": ("cosine", lambda _schedule, _total: {}),
    "CosineWithMinimum": (
        "cosine_with_min_lr",
        lambda schedule, _total: {"min_lr_rate": schedule.settings["minimum_ratio"]},
    ),
    "Constant": ("constant_with_warmup", lambda _schedule, _total: {}),
    "WSD": (
        "warmup_stable_decay",
        lambda schedule, total: {
            "num_decay_steps": _decay_steps(schedule, total),
            "min_lr_ratio": schedule.settings["minimum_ratio"],
        },
    ),
    "InverseSqrt": ("inverse_sqrt", lambda _schedule, _total: {}),
}
"""By `spec.training.schedule.type`: transformers' name, and what it wants to know besides, for so many steps."""


def warmup_steps(training: Training, total_steps: int) -> int:
    """The steps of the warm-up, worked out from the ratio where the manifest gives one."""
    if training.schedule.warmup_steps is not None:
        return training.schedule.warmup_steps
    return round((training.schedule.warmup_ratio or 0.0) * total_steps)


def refuse_endless_warmup(training: Training, total_steps: int) -> None:
    """A warm-up as long as the run never reaches its rate, and a run of one step would train at rate 0."""
    warmup = warmup_steps(training, total_steps)
    if warmup >= total_steps:
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.training.schedule: the warm-up takes {warmup} steps and the run {total_steps}; shorten the warm-up,"
            " or raise spec.training.epochs or spec.training.maxSteps",
        )
    if "decay_ratio" not in training.schedule.settings:
        return
    decay = _decay_steps(training.schedule, total_steps)
    if warmup + decay > total_steps:
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.training.schedule: the warm-up takes {warmup} steps and the decay {decay}, of {total_steps} in all;"
            " shorten the warm-up, or lower decayRatio",
        )


def learning_rate_schedule(optimizer: Any, training: Training, total_steps: int) -> Any:
    """The schedule of the manifest, as transformers builds it."""
    name, more = SCHEDULES[training.schedule.type]
    return get_scheduler(
        name,
        optimizer,
        num_warmup_steps=warmup_steps(training, total_steps),
        num_training_steps=total_steps,
        scheduler_specific_kwargs=more(training.schedule, total_steps),
    )


def sum_of_rates(training: Training, total_steps: int) -> float:
    """The learning rates of all steps together: about how far they move a weight at most. Infinite where that tells
    nothing: the optimizer's steps have no bound, or lower layers have rates of their own."""
    if not training.optimizer.row.bounded or training.layerwise_decay < 1:
        return inf
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=training.peak_learning_rate)
    (share,) = learning_rate_schedule(optimizer, training, total_steps).lr_lambdas
    total: float = training.peak_learning_rate * sum(map(share, range(total_steps)))
    return total
