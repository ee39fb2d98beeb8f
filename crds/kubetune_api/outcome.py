"""The status of a run that is over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from kubetune_api.data_counts import DataCounts
from kubetune_api.reasons import Reason
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.status import (
    Artifact,
    CheckpointStatus,
    Condition,
    FineTuneJobStatus,
    Metric,
    Progress,
)

INTERRUPTED = (
    "the run was interrupted before it ended; a model is published only if its manifest exists and does not say"
    " `rejected`"
)
LESS_MEMORY = (
    "lower spec.training.microBatchSize or spec.task.maxLength (the result stays the same with a smaller micro-batch)"
)
"""What a run needs less memory with, on any machine."""
_LONGEST_MESSAGE = 4000


@dataclass(frozen=True)
class Ending:
    """What is known of a run when it ends, however it ends."""

    run: str
    """The id of the run."""
    start_time: str
    completion_time: str
    data: DataCounts | None = None
    """What the run read, if it came so far."""
    progress: Progress | None = None
    checkpoint: CheckpointStatus | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    """By full name, `test/loss`."""
    primary_metric: str | None = None
    """The full name of the one that stands for the model."""
    artifact: Artifact | None = None
    """The published model, or the rejected one of a run that missed a requirement."""
    resolved: ResolvedSettings | None = None
    """What ran where the manifest left it open."""

    def succeeded(self, doubts: Sequence[str] = ()) -> FineTuneJobStatus:
        """The model is verified and published; whether it is a good one its author must know, too."""
        message = " ".join(["The model is verified and published.", *self._chosen(), *doubts])
        return self._status("Succeeded", Reason.PUBLISHED, message[:_LONGEST_MESSAGE])

    def failed(self, reason: str, message: str) -> FineTuneJobStatus:
        """The run did not reach its end, or its model missed a requirement."""
        return self._status("Failed", reason, message[:_LONGEST_MESSAGE])

    def _status(self, phase: Literal["Succeeded", "Failed"], reason: str, message: str) -> FineTuneJobStatus:
        condition = Condition(
            type=phase, status="True", reason=reason, message=message, last_transition_time=self.completion_time
        )
        # JSON has no word for a value beyond all numbers.
        metrics = [Metric(name=name, value=value) for name, value in self.metrics.items() if isfinite(value)]
        return FineTuneJobStatus(
            phase=phase,
            run=self.run,
            start_time=self.start_time,
            completion_time=self.completion_time,
            conditions=[condition],
            data=self.data,
            progress=self.progress,
            checkpoint=self.checkpoint,
            metrics=metrics,
            primary_metric=next((metric for metric in metrics if metric.name == self.primary_metric), None),
            artifact=self.artifact,
            resolved=self.resolved,
        )

    def _chosen(self) -> Iterator[str]:
        """What early stopping and `keep: Best` have decided."""
        progress, by = self.progress, self.primary_metric
        if progress is None or progress.kept_step is None:
            return
        if progress.step < progress.total_steps:
            at = f"at step {progress.step:,} of {progress.total_steps:,}"
            yield f"The training stopped early, {at}: {by} got no better."
        if progress.kept_step < progress.step:
            yield f"Its weights are those of step {progress.kept_step:,}, the best by {by}."
