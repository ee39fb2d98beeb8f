"""The judgement of a split from its predictions: pure functions over arrays."""

from collections.abc import Iterable
from math import exp

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from kubetune_api.job import Requirement
from kubetune_trainer.records import ClassMetrics, RequirementResult

# exp() of a larger mean loss leaves the range of a double; such a perplexity is infinite for every purpose.
_LARGEST_EXPONENT = 700.0


def classification(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: tuple[str, ...]
) -> tuple[dict[str, float], tuple[ClassMetrics, ...], tuple[tuple[int, ...], ...]]:
    """Accuracy, macro and per-class precision, recall and F1, and the confusion matrix (rows true, columns predicted).

    `truth` and `predicted` are class indexes, shape [rows]. A label without rows or predictions counts as 0 in the
    macro means, as scikit-learn does with `zero_division=0`.
    """
    classes = np.arange(len(labels))
    precision, recall, f1, rows = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    per_class = tuple(
        ClassMetrics(label, float(precision[i]), float(recall[i]), float(f1[i]), int(rows[i]))
        for i, label in enumerate(labels)
    )
    overall = {
        "accuracy": float(np.mean(truth == predicted)),
        "precision_macro": float(np.mean(precision)),
        "recall_macro": float(np.mean(recall)),
        "f1_macro": float(np.mean(f1)),
    }
    confusion = confusion_matrix(truth, predicted, labels=classes)
    return overall, per_class, tuple(tuple(int(count) for count in row) for row in confusion)


def perplexity(mean_loss: float) -> float:
    """The exponential of the mean cross-entropy per target token, in nats."""
    return exp(mean_loss) if mean_loss < _LARGEST_EXPONENT else float("inf")


def judge(requirements: Iterable[Requirement], metrics: dict[str, float]) -> tuple[RequirementResult, ...]:
    """Each requirement with the value that was reached."""
    return tuple(
        RequirementResult(requirement.metric, metrics[requirement.metric], requirement.min, requirement.max)
        for requirement in requirements
    )
