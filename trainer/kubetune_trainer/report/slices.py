"""The slices of an evaluation beside the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubetune_api.metrics import metric_row
from kubetune_trainer.figures import Interval
from kubetune_trainer.records import EvaluationRecord


@dataclass(frozen=True)
class SliceCell:
    """One metric of a slice."""

    name: str
    value: float
    share: float | None
    """The length of its bar, 0 to 1; None of a metric that has no greatest value."""
    interval: Interval | None
    below: bool
    """Whether it is worse than that of all rows."""


@dataclass(frozen=True)
class SliceLine:
    """A slice, or all rows."""

    name: str
    rows: int | None
    cells: tuple[SliceCell, ...]


def slice_table(judged: EvaluationRecord, headline: Sequence[str]) -> tuple[SliceLine, ...]:
    """All rows, then each slice, by what all of them have; nothing of an evaluation without slices."""
    if not judged.slices:
        return ()
    # A slice may have no row that the model has written to.
    names = [name for name in headline if all(name in metrics for metrics in _metrics(judged))]
    whole = tuple(_cell(name, judged.metrics, judged.intervals, judged) for name in names)
    lines = [
        SliceLine(one.name, one.rows, tuple(_cell(name, one.metrics, one.intervals, judged) for name in names))
        for one in judged.slices
    ]
    return (SliceLine("all rows", None, whole), *lines)


def _metrics(judged: EvaluationRecord) -> Sequence[Mapping[str, float]]:
    return [judged.metrics, *(one.metrics for one in judged.slices)]


def _cell(
    name: str, metrics: Mapping[str, float], intervals: Mapping[str, Interval], judged: EvaluationRecord
) -> SliceCell:
    row, value, whole = metric_row(name), metrics[name], judged.metrics[name]
    worse = value < whole if row.best == "Max" else value > whole
    share = min(max(value, 0.0), 1.0) if row.bounded and value == value else None
    return SliceCell(name, value, share, intervals.get(name), worse)
