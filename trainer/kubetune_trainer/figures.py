"""What stands beside the metrics of an evaluation: how sure they are, and the same of some of its rows."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Interval(NamedTuple):
    """Where a metric lies with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class SliceRecord:
    """Some rows of a split, judged by themselves."""

    name: str
    rows: int
    metrics: dict[str, float]
    """By the names of the API's table."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """By the same names, where the evaluation has them."""
