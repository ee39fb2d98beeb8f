"""How the entities of each type fared, drawn: a line for each type, on which its precision, recall and F1 are marked.

The names of types are a tenant's texts, so the page draws it, and not matplotlib.
"""

from dataclasses import dataclass

from kubetune_trainer.report.charts import Key
from kubetune_trainer.tasks.entities import EntityDetails

MOST_LINES = 40
"""Types that are drawn; the table beside has more."""
KEYS = (Key("precision", 1, mark="●"), Key("recall", 2, mark="■"), Key("F1", 3, mark="▲"))


@dataclass(frozen=True)
class TypeLine:
    """A type, with what is marked on its line."""

    label: str
    entities: int
    precision: float
    recall: float
    f1: float

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest mark."""
        marks = (self.precision, self.recall, self.f1)
        return min(marks), max(marks)


def lines_by_type(details: EntityDetails) -> tuple[TypeLine, ...]:
    """The types with the most entities, the lowest F1 first; none that is neither there nor found."""
    seen = [
        TypeLine(one.label, one.rows, one.precision, one.recall, one.f1)
        for one, predicted in zip(details.per_type, details.predicted, strict=True)
        if one.rows or predicted
    ]
    most = sorted(seen, key=lambda line: -line.entities)[:MOST_LINES]
    return tuple(sorted(most, key=lambda line: line.f1))
