"""How labels fared: what follows from the counts of an evaluation."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.tasks.scores import CalibrationBin

ACCURACY = "accuracy"


@dataclass(frozen=True)
class ClassMetrics:
    """How one label fared."""

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True)
class ClassificationDetails:
    """How each label fared, and what was taken for what."""

    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Rows are true labels, columns predicted ones."""
    calibration: tuple[CalibrationBin, ...] = ()
    """How far the probabilities of its answers can be believed."""
    auc_within: float = math.nan
    """How far the exact `auc` may be from the one that is told."""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the head's outputs."""
        return tuple(one.label for one in self.per_class)

    def to_dict(self) -> dict[str, Any]:
        """The labels, and the entries of the matrix that are not zero: of a million pairs, a few thousand are."""
        entries = [
            {"true": true, "predicted": predicted, "rows": rows}
            for true, line in enumerate(self.confusion)
            for predicted, rows in enumerate(line)
            if rows
        ]
        return {
            "perClass": [asdict(one) for one in self.per_class],
            "confusion": entries,
            "calibration": [asdict(one) for one in self.calibration],
            "aucWithin": self.auc_within,
        }


def class_metrics(
    confusion: NDArray[np.float64], names: tuple[str, ...]
) -> tuple[dict[str, float], ClassificationDetails]:
    """What follows from a confusion matrix, whose rows are true labels: accuracy; precision, recall and F1 of each
    label and over all; Matthews' correlation.

    A label without rows or predictions counts as 0 in the macro means, as scikit-learn does with `zero_division=0`.
    """
    right, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall, f1 = ratios(right, predicted, true)
    metrics = {
        ACCURACY: float(right.sum() / confusion.sum()),
        "precision_macro": float(precision.mean()),
        "recall_macro": float(recall.mean()),
        "f1_macro": float(f1.mean()),
        "f1_weighted": float((f1 * true).sum() / true.sum()),
        "f1_micro": float(right.sum() / confusion.sum()),
        "mcc": _correlation(float(right.sum()), true, predicted),
    }
    matrix = tuple(tuple(line) for line in confusion.astype(np.int64).tolist())
    return metrics, ClassificationDetails(of_each_class(names, right, predicted, true), matrix)


def _correlation(right: float, true: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Matthews' coefficient, of any number of labels; 0 where all rows have one label, or got one."""
    rows = true.sum()
    spread = float((rows**2 - (predicted**2).sum()) * (rows**2 - (true**2).sum()))
    return (float(right * rows) - float(predicted @ true)) / math.sqrt(spread) if spread > 0 else 0.0


def of_each_class(
    names: Sequence[str], right: NDArray[np.float64], predicted: NDArray[np.float64], true: NDArray[np.float64]
) -> tuple[ClassMetrics, ...]:
    """How each class fared, from how often it was predicted rightly, predicted, and true; all [classes]."""
    columns = zip(names, *ratios(right, predicted, true), true, strict=True)
    return tuple(
        ClassMetrics(name, float(precision), float(recall), float(f1), int(rows))
        for name, precision, recall, f1, rows in columns
    )


def ratios(
    right: NDArray[np.float64], predicted: NDArray[np.float64], true: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1."""
    return shares(right, predicted), shares(right, true), shares(2 * right, predicted + true)


def shares(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each part of its whole; 0 of nothing, as scikit-learn and seqeval have it."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
