"""What the manifest requires of the model, against what it reached."""

from collections.abc import Iterable
from math import nan

from kubetune_api.job import Requirement
from kubetune_trainer.records import EvaluationRecord, RequirementResult


def check_requirements(requirements: Iterable[Requirement], metrics: dict[str, float]) -> tuple[RequirementResult, ...]:
    """Each requirement with the value that was reached; NaN where nothing could be measured."""
    return tuple(
        RequirementResult(requirement.metric, metrics.get(requirement.metric, nan), requirement.min, requirement.max)
        for requirement in requirements
    )


def slice_metrics(evaluations: Iterable[EvaluationRecord], kept_step: int) -> dict[str, float]:
    """The metrics that the weights of that step reach on slices, by full name: `test/german/accuracy`."""
    return {
        f"{record.split}/{one.name}/{name}": value
        for record in evaluations
        if record.judges(kept_step)
        for one in record.slices
        for name, value in one.metrics.items()
    }
