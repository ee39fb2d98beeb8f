"""The confusion matrix: a heat map while one can be read, the most frequent confusions beyond that."""

from dataclasses import dataclass

from kubetune_trainer.tasks.class_metrics import ClassificationDetails

MOST_LABELS_OF_A_MAP = 30
MOST_CONFUSIONS = 30
STRONG = 0.55
"""From this share on a cell is dark enough to need light text."""


@dataclass(frozen=True)
class Cell:
    """The rows of one true label that got one predicted label."""

    rows: int
    share: float
    """Of the rows of the true label, 0 to 1; 0 where there are none."""
    correct: bool

    @property
    def strong(self) -> bool:
        """Whether its colour is a strong one."""
        return self.share >= STRONG


@dataclass(frozen=True)
class TrueLabel:
    """One line of the map."""

    label: str
    rows: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Confusion:
    """Rows of `true` that were taken for `predicted`."""

    true: str
    predicted: str
    rows: int
    share: float


def heat_map(details: ClassificationDetails) -> tuple[TrueLabel, ...]:
    """The lines of the map, one for each true label; none where there are too many labels."""
    if len(details.labels) > MOST_LABELS_OF_A_MAP:
        return ()
    return tuple(
        TrueLabel(label, sum(line), tuple(_cell(place, column, line) for column in range(len(line))))
        for place, (label, line) in enumerate(zip(details.labels, details.confusion, strict=True))
    )


def _cell(place: int, column: int, line: tuple[int, ...]) -> Cell:
    return Cell(line[column], _share(line[column], sum(line)), correct=place == column)


def top_confusions(details: ClassificationDetails) -> tuple[Confusion, ...]:
    """The most frequent confusions, the most frequent first."""
    found = [
        (rows, true, predicted)
        for true, line in enumerate(details.confusion)
        for predicted, rows in enumerate(line)
        if rows and true != predicted
    ]
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    labels, totals = details.labels, [sum(line) for line in details.confusion]
    return tuple(
        Confusion(labels[true], labels[predicted], rows, _share(rows, totals[true]))
        for rows, true, predicted in found[:MOST_CONFUSIONS]
    )


def _share(rows: int, total: int) -> float:
    return rows / total if total else 0.0
