"""The status of a run that is over."""

from math import isfinite

from kubetune_api.status import Artifact, Condition, FineTuneJobStatus, Metric, Progress, Reason

_LONGEST_MESSAGE = 4000


def succeeded(
    run: str,
    *,
    started_at: str,
    finished_at: str,
    progress: Progress | None,
    metrics: dict[str, float],
    artifact: Artifact,
) -> FineTuneJobStatus:
    """A run whose model was verified and published."""
    return FineTuneJobStatus(
        phase="Succeeded",
        run=run,
        started_at=started_at,
        finished_at=finished_at,
        conditions=[_condition("Succeeded", Reason.PUBLISHED, "The model is verified and published.", finished_at)],
        progress=progress,
        metrics=_metrics(metrics),
        artifact=artifact,
    )


def failed(
    run: str,
    *,
    reason: str,
    message: str,
    started_at: str,
    finished_at: str,
    progress: Progress | None = None,
    metrics: dict[str, float] | None = None,
    artifact: Artifact | None = None,
) -> FineTuneJobStatus:
    """A run that did not succeed; `artifact` is the rejected model of one that missed a requirement."""
    return FineTuneJobStatus(
        phase="Failed",
        run=run,
        started_at=started_at,
        finished_at=finished_at,
        conditions=[_condition("Failed", reason, message[:_LONGEST_MESSAGE], finished_at)],
        progress=progress,
        metrics=_metrics(metrics or {}),
        artifact=artifact,
    )


def _condition(kind: str, reason: str, message: str, when: str) -> Condition:
    return Condition(type=kind, status="True", reason=reason, message=message, last_transition_time=when)


def _metrics(values: dict[str, float]) -> list[Metric]:
    # JSON has no word for a perplexity beyond all numbers.
    return [Metric(name=name, value=value) for name, value in values.items() if isfinite(value)]
