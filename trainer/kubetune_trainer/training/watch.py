"""What the validation split decides of a training: when it ends, and which weights are published."""

from collections.abc import Callable, Mapping
from math import inf, isnan
from typing import Any

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.metrics import metric_row
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.training.kept_weights import KeptWeights


class Watch:
    """Follows one metric over the evaluations of a run.

    `agreed` gives every rank the value that rank 0 has, so that all decide alike: what processors of two kinds work out
    of the same sums may differ in its last digit.
    """

    def __init__(self, spec: FineTuneJobSpec, weights: KeptWeights, agreed: Callable[[float], float]) -> None:
        training = spec.training
        self._metric = (spec.primary_metric or "").rpartition("/")[2]
        self._sign = 1 if metric_row(self._metric).best == "Max" else -1
        self._stopping, self._keeps_best = training.early_stopping, training.kept == "Best"
        self._weights, self._agreed = weights, agreed
        self._best: float | None = None
        self._best_step = 0
        self._without_improvement = 0

    def take(self, found: EvaluationRecord) -> None:
        """Takes the next evaluation of the validation split, whose weights the engine holds."""
        if self._stopping is None and not self._keeps_best:
            return
        value = self._sign * self._agreed(found.metrics[self._metric])
        # NaN is never an improvement.
        gain = value - self._best if self._best is not None else (-inf if isnan(value) else inf)
        least = self._stopping.min_delta if self._stopping else 0.0
        self._without_improvement = 0 if gain > least else self._without_improvement + 1
        if gain > 0:
            self._best, self._best_step = value, found.step
            if self._keeps_best:
                self._weights.keep()

    def state(self) -> dict[str, Any]:
        """What it remembers, as JSON has it, but for the weights."""
        return {"best": self._best, "bestStep": self._best_step, "withoutImprovement": self._without_improvement}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remembers what another one did."""
        self._best, self._best_step = state["best"], state["bestStep"]
        self._without_improvement = state["withoutImprovement"]

    @property
    def ends(self) -> bool:
        """Whether the training has gone on for long enough without getting better."""
        return self._stopping is not None and self._without_improvement >= self._stopping.patience

    def choose(self, last_step: int) -> int:
        """Gives the engine the weights that are published, and returns their step."""
        if not self._keeps_best or self._best is None:
            return last_step
        if self._best_step != last_step:
            self._weights.put_back()
        return self._best_step
