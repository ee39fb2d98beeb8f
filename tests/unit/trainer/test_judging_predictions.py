"""Metrics against values worked out by hand, and requirements against metrics."""

from math import e, inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
)

from kubetune_api.job import Requirement
from kubetune_trainer.tasks.class_metrics import ClassMetrics, class_metrics
from kubetune_trainer.tasks.token_losses import perplexity
from kubetune_trainer.training.requirements import check_requirements

LABELS = ("bad", "fair", "good")


def classification(
    truth: np.ndarray, predicted: np.ndarray, labels: tuple[str, ...]
) -> tuple[dict[str, float], tuple[ClassMetrics, ...], tuple[tuple[int, ...], ...]]:
    """Judged as an evaluation judges them, from the sum of what was counted."""
    counted = np.zeros((len(labels), len(labels)))
    np.add.at(counted, (truth, predicted), 1)
    metrics, details = class_metrics(counted, labels)
    return metrics, details.per_class, details.confusion


def test_metrics_by_hand() -> None:
    overall, per_class, confusion = classification(
        np.array([0, 0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 2, 2, 2]), LABELS
    )
    assert confusion == ((3, 1, 0), (0, 1, 1), (0, 0, 2))
    assert [one.label for one in per_class] == list(LABELS)
    assert [one.rows for one in per_class] == [4, 2, 2]
    assert [one.precision for one in per_class] == pytest.approx([1, 1 / 2, 2 / 3])
    assert [one.recall for one in per_class] == pytest.approx([3 / 4, 1 / 2, 1])
    assert [one.f1 for one in per_class] == pytest.approx([6 / 7, 1 / 2, 4 / 5])
    assert overall == pytest.approx(
        {
            "accuracy": 6 / 8,
            "precision_macro": (1 + 1 / 2 + 2 / 3) / 3,
            "recall_macro": (3 / 4 + 1 / 2 + 1) / 3,
            "f1_macro": (6 / 7 + 1 / 2 + 4 / 5) / 3,
            "f1_weighted": (4 * 6 / 7 + 2 * 1 / 2 + 2 * 4 / 5) / 8,
            "f1_micro": 6 / 8,
            "mcc": (6 * 8 - (4 * 3 + 2 * 2 + 2 * 3)) / ((64 - 22) * (64 - 24)) ** 0.5,
        }
    )


def test_a_label_without_rows_and_predictions_counts_as_zero() -> None:
    overall, per_class, confusion = classification(np.array([0, 1]), np.array([0, 1]), LABELS)
    assert confusion == ((1, 0, 0), (0, 1, 0), (0, 0, 0))
    assert (per_class[2].precision, per_class[2].recall, per_class[2].f1, per_class[2].rows) == (0, 0, 0, 0)
    assert overall["accuracy"] == 1.0
    assert overall["f1_macro"] == pytest.approx(2 / 3)


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(st.integers(2, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60))
def test_metrics_are_those_of_scikit_learn(labels: int, rows: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(column) % labels for column in zip(*rows, strict=True))
    overall, per_class, confusion = classification(truth, predicted, tuple(map(str, range(labels))))
    classes = np.arange(labels)
    *theirs, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    for name, values in zip(("precision", "recall", "f1"), theirs, strict=True):
        assert [getattr(one, name) for one in per_class] == pytest.approx(values.tolist(), abs=1e-12)
        assert overall[f"{name}_macro"] == pytest.approx(values.mean(), abs=1e-12)
    assert overall["accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)
    for average in ("weighted", "micro"):
        theirs = f1_score(truth, predicted, labels=classes, average=average, zero_division=0)
        assert overall[f"f1_{average}"] == pytest.approx(theirs, abs=1e-12)
    assert overall["mcc"] == pytest.approx(matthews_corrcoef(truth, predicted), abs=1e-12)
    assert [one.rows for one in per_class] == support.tolist()
    assert confusion == tuple(map(tuple, confusion_matrix(truth, predicted, labels=classes).tolist()))


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        pytest.param(0.0, 1.0, id="certain and right"),
        pytest.param(1.0, e, id="one nat"),
        pytest.param(800.0, inf, id="beyond the range of a double"),
        pytest.param(inf, inf, id="infinite"),
    ],
)
def test_perplexity(loss: float, value: float) -> None:
    assert perplexity(loss) == pytest.approx(value)


@pytest.mark.parametrize(
    ("lowest", "highest", "value", "met"),
    [
        pytest.param(0.5, None, 0.5, True, id="exactly the minimum"),
        pytest.param(0.5, None, 0.4999, False, id="just below the minimum"),
        pytest.param(None, 2.0, 2.0, True, id="exactly the maximum"),
        pytest.param(None, 2.0, 2.0001, False, id="just above the maximum"),
        pytest.param(1.0, 2.0, 1.5, True, id="between both"),
        pytest.param(1.0, 2.0, 3.0, False, id="outside both"),
        pytest.param(0.0, None, nan, False, id="NaN against a minimum"),
        pytest.param(None, 1e9, nan, False, id="NaN against a maximum"),
        pytest.param(None, 1e9, inf, False, id="an infinite perplexity"),
    ],
)
def test_requirements(lowest: float | None, highest: float | None, value: float, met: bool) -> None:
    requirement = Requirement(metric="test/loss", min=lowest, max=highest)
    (result,) = check_requirements([requirement], {"test/loss": value, "validation/loss": 1.5})
    assert result.met is met
    assert (result.metric, result.min, result.max) == ("test/loss", lowest, highest)
