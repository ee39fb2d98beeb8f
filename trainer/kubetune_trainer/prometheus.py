"""What each worker shows Prometheus, by the exporter that Ray runs on every node."""

import math
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from kubetune_trainer.records import StepRecord

_GAUGES: Mapping[str, tuple[str, str]] = {
    "step": ("step", "Optimizer steps done in this attempt."),
    "loss": ("loss", "Mean loss per target of the last global batch."),
    "learning_rate": ("learning_rate", "Learning rate of the last step."),
    "gradient_norm": ("gradient_norm", "Norm of the last step's gradient, before clipping."),
    "seconds": ("step_seconds", "Time of the last step on this worker, in seconds."),
}
"""By the field of a `StepRecord`: the name and what it means."""


class StepMetrics:
    """The metrics of one worker; Ray puts `ray_` before their names."""

    def __init__(self, *, namespace: str, name: str, attempt: int, worker: int) -> None:
        # `job` is the name that Prometheus gives to what it scrapes.
        labels = {"namespace": namespace, "finetunejob": name, "attempt": str(attempt), "worker": str(worker)}
        keys = tuple(labels)
        self._gauges = {field: Gauge(f"kubetune_{what}", said, keys) for field, (what, said) in _GAUGES.items()}
        self._tokens = Counter("kubetune_tokens_total", "Tokens of the global batches that were trained on.", keys)
        for metric in (*self._gauges.values(), self._tokens):
            metric.set_default_tags(labels)

    def __call__(self, record: StepRecord) -> None:
        """Shows the step."""
        for field, gauge in self._gauges.items():
            value = getattr(record, field)
            if not math.isnan(value):
                gauge.set(value)
        self._tokens.inc(record.tokens)
