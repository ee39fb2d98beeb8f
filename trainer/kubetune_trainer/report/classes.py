"""The table of the labels: all of a few, and of many those that need attention first."""

from dataclasses import dataclass

from kubetune_trainer.records import ClassMetrics, EvaluationRecord

MOST_ROWS = 50


@dataclass(frozen=True)
class ClassTable:
    """The labels to show, and those folded away below."""

    shown: tuple[ClassMetrics, ...]
    folded: tuple[ClassMetrics, ...] = ()


def class_table(evaluation: EvaluationRecord) -> ClassTable | None:
    """All labels in their order, or beyond `MOST_ROWS` the ones with the lowest F1 first and the others folded away."""
    if not evaluation.per_class:
        return None
    if len(evaluation.per_class) <= MOST_ROWS:
        return ClassTable(evaluation.per_class)
    by_f1 = sorted(evaluation.per_class, key=lambda found: found.f1)
    return ClassTable(tuple(by_f1[:MOST_ROWS]), tuple(by_f1[MOST_ROWS:]))
