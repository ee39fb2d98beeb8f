"""The table of the labels: all of a few, and of many those that need attention first."""

from dataclasses import dataclass

from kubetune_trainer.tasks.class_metrics import ClassMetrics

MOST_ROWS = 50


@dataclass(frozen=True)
class ClassTable:
    """The labels to show, and those folded away below."""

    shown: tuple[ClassMetrics, ...]
    folded: tuple[ClassMetrics, ...] = ()


def class_table(per_class: tuple[ClassMetrics, ...]) -> ClassTable:
    """All labels in their order, or beyond `MOST_ROWS` the ones with the lowest F1 first and the others folded away."""
    if len(per_class) <= MOST_ROWS:
        return ClassTable(per_class)
    by_f1 = sorted(per_class, key=lambda found: found.f1)
    return ClassTable(tuple(by_f1[:MOST_ROWS]), tuple(by_f1[MOST_ROWS:]))
