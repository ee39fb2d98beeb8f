"""The slices of an evaluation beside the whole."""

from collections.abc import Sequence
from dataclasses import dataclass

from kubetune_api.metrics import metric_row
from kubetune_trainer.records import EvaluationRecord


@dataclass(frozen=True)
class SliceCell:
    """One metric of a slice."""

    name: str
    value: float
    share: float | None
    """The length of its bar, 0 to 1; None of a metric that has no greatest value."""
    below: bool
    """Whether it is worse than that of all rows."""


@dataclass(frozen=True)
class SliceLine:
    """A slice, or all rows."""

    name: str
    rows: int | None
    cells: tuple[SliceCell, ...]


def slice_table(judged: EvaluationRecord, headline: Sequence[str]) -> tuple[SliceLine, ...]:
    """All rows, then each slice; nothing of an evaluation without slices."""
    if not judged.slices:
        return ()
    names = [name for name in headline if name in judged.metrics]
    lines = [("all rows", None, judged.metrics), *((one.name, one.rows, one.metrics) for one in judged.slices)]
    return tuple(
        SliceLine(title, rows, tuple(_cell(name, metrics[name], judged.metrics[name]) for name in names))
        for title, rows, metrics in lines
    )


def _cell(name: str, value: float, whole: float) -> SliceCell:
    row = metric_row(name)
    worse = value < whole if row.best == "Max" else value > whole
    return SliceCell(name, value, min(max(value, 0.0), 1.0) if row.bounded and value == value else None, worse)
