"""What a training tells of itself while it goes on, for whoever waits: none of it is kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationStart:
    """An evaluation begins: until its record comes, no step is done."""

    split: str
    step: int


@dataclass(frozen=True)
class Writing:
    """Within an evaluation, the model writes answers."""

    split: str
    step: int
    rows: int
    """Those that have one."""
    of_rows: int
