"""How a run ended, and what was asked of it."""

from dataclasses import dataclass, replace

from kubetune_api.numbers import on_its_side
from kubetune_trainer.records import RequirementResult


@dataclass(frozen=True)
class RunVerdict:
    """How the run ended, in a word and a sentence."""

    succeeded: bool
    title: str
    sentences: tuple[str, ...]


def verdict(requirements: tuple[RequirementResult, ...]) -> RunVerdict:
    """Succeeded, unless a requirement was missed: then which."""
    missed = [requirement for requirement in requirements if not requirement.met]
    if missed:
        return RunVerdict(False, "Requirement missed", tuple(_missed(requirement) for requirement in missed))
    if not requirements:
        return RunVerdict(True, "Succeeded", ("The manifest set no requirement.",))
    met = "The requirement was met." if len(requirements) == 1 else f"All {len(requirements)} requirements were met."
    return RunVerdict(True, "Succeeded", (met,))


def _missed(requirement: RequirementResult) -> str:
    return f"{requirement.metric} is {shown_value(requirement)}; {bounds(requirement)} was required."


def shown_value(requirement: RequirementResult) -> str:
    """The value, on its side of the bounds."""
    return on_its_side(requirement.value, lambda value: replace(requirement, value=value).met)


def bounds(requirement: RequirementResult) -> str:
    """`at least 0.85`, `at most 2`, `0.8 to 0.9`, with the digits of the manifest."""
    if requirement.max is None:
        return f"at least {requirement.min!r}"
    if requirement.min is None:
        return f"at most {requirement.max!r}"
    return f"{requirement.min!r} to {requirement.max!r}"
