"""How the learning rate moves, by the names and settings of the manifest: to the last bit as with transformers.

Its own functions are not called: the module that they are in imports peft and all that belongs to it, which takes a
second of CPU time before each first step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, inf, pi, sqrt
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from kubetune_api.job import Schedule, Training
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError


@dataclass(frozen=True)
class Span:
    """The steps of a run, all of them and those of the warm-up, and the settings of its schedule."""

    schedule: Schedule
    warmup: int
    total: int

    @property
    def minimum(self) -> float:
        """What the rate falls to, as a share of the highest; 0 where the schedule has no such setting."""
        return self.schedule.settings.get("minimum_ratio", 0.0)

    @property
    def after_warmup(self) -> int:
        """At least 1."""
        return max(1, self.total - self.warmup)


def _linear(step: int, span: Span) -> float:
    return max(0.0, (span.total - step) / span.after_warmup)


def _cosine(step: int, span: Span) -> float:
    return _half_cosine((step - span.warmup) / span.after_warmup, span.minimum)


def _half_cosine(progress: float, minimum: float) -> float:
    return max(0.0, 0.5 * (1.0 + cos(pi * progress)) * (1.0 - minimum) + minimum)


def _constant(_step: int, _span: Span) -> float:
    return 1.0


def _stable_then_down(step: int, span: Span) -> float:
    decay = _decay_steps(span.schedule, span.total)
    if step < span.total - decay:
        return 1.0
    return _half_cosine((step - (span.total - decay)) / decay, span.minimum) if step < span.total else span.minimum


def _inverse_root(step: int, span: Span) -> float:
    scale = span.warmup or 10_000
    return 1.0 / sqrt((step + scale - span.warmup) / scale)


def _decay_steps(schedule: Schedule, total_steps: int) -> int:
    return max(1, round(schedule.settings["decay_ratio"] * total_steps))


SCHEDULES: Mapping[str, Callable[[int, Span], float]] = {
    "Linear": _linear,
    "Cosine": _cosine,
    "CosineWithMinimum": _cosine,
    "Constant": _constant,
    "WSD": _stable_then_down,
    "InverseSqrt": _inverse_root,
}
"""By `spec.training.schedule.type`: the rate of a step behind the warm-up, as a share of the highest."""
_RISES_FROM_THE_MINIMUM = ("WSD",)


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


def rate_of_steps(training: Training, total_steps: int) -> Callable[[int], float]:
    """From a step, the first of which is 0, to its rate, as a share of the highest."""
    schedule = training.schedule
    span = Span(schedule, warmup_steps(training, total_steps), total_steps)
    lowest = span.minimum if schedule.type in _RISES_FROM_THE_MINIMUM else 0.0

    def share(step: int) -> float:
        if step < span.warmup:
            return step / span.warmup * (1.0 - lowest) + lowest
        return SCHEDULES[schedule.type](step, span)

    return share


def learning_rate_schedule(optimizer: Any, training: Training, total_steps: int) -> LambdaLR:
    """The schedule of the manifest, as torch's optimizers take it."""
    return LambdaLR(optimizer, rate_of_steps(training, total_steps))


def sum_of_rates(training: Training, total_steps: int) -> float:
    """The learning rates of all steps together: about how far they move a weight at most. Infinite where that tells
    nothing: the optimizer's steps have no bound, or lower layers have rates of their own."""
    if not training.optimizer.row.bounded or training.layerwise_decay < 1:
        return inf
    return training.peak_learning_rate * sum(map(rate_of_steps(training, total_steps), range(total_steps)))
