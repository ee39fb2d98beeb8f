"""What the manifest requires of the model, against what it reached."""

from collections.abc import Iterable

from kubetune_api.job import Requirement
from kubetune_trainer.records import RequirementResult


def check_requirements(requirements: Iterable[Requirement], metrics: dict[str, float]) -> tuple[RequirementResult, ...]:
    """Each requirement with the value that was reached."""
    return tuple(
        RequirementResult(requirement.metric, metrics[requirement.metric], requirement.min, requirement.max)
        for requirement in requirements
    )
