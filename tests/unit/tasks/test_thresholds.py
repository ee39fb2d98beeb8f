"""Scores of several labels, judged at every threshold from sums, against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from kubetune_trainer.tasks.multi_label import LabelSets, MultiLabelClassification
from kubetune_trainer.tasks.thresholds import GRID, at_thresholds, counts

TASK = MultiLabelClassification()


def scored(rows: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that hint at the truth, some of them on a threshold."""
    random = np.random.default_rng(seed)
    true = (random.random((rows, labels)) < random.uniform(0.05, 0.5, labels)).astype(np.float32)
    scores = np.clip(0.25 + 0.3 * true + random.normal(0, 0.2, true.shape), 0.001, 0.999).astype(np.float32)
    return np.where(random.random(true.shape) < 0.1, np.float32(0.3), scores), true


def tally_of(scores: np.ndarray, true: np.ndarray, thresholds: tuple[float, ...] = GRID) -> dict[str, np.ndarray]:
    """As an evaluation adds it up: from shares of the rows, one of them empty."""
    total: dict[str, np.ndarray] = {}
    for rows in (slice(0, 7), slice(7, 7), slice(7, None)):
        part = counts(torch.from_numpy(scores[rows]), torch.from_numpy(true[rows]), thresholds)
        for name, found in part.items():
            total[name] = total.get(name, 0) + found.double().numpy()
    return total


@pytest.mark.parametrize("labels", [1, 2, 9])
def test_every_threshold_is_judged_as_scikit_learn_judges_it(labels: int) -> None:
    scores, true = scored(120, labels)
    judged = at_thresholds(tally_of(scores, true))
    for place, threshold in enumerate(GRID):
        given = scores >= np.float32(threshold)
        more = {"average": "micro", "zero_division": 0} if labels > 1 else {"zero_division": 0}
        assert judged.f1_micro[place] == pytest.approx(f1_score(true, given, **more))
        assert judged.precision_micro[place] == pytest.approx(precision_score(true, given, **more))
        assert judged.recall_micro[place] == pytest.approx(recall_score(true, given, **more))
        assert judged.whole[place] == pytest.approx(accuracy_score(true, given))


def measured(scores: np.ndarray, true: np.ndarray, space: LabelSets):
    tally = {"loss": np.array(1.0), **tally_of(scores, true, space.thresholds)}
    return TASK.measure(tally, space)


def test_the_validation_split_chooses_the_threshold_and_the_test_split_keeps_it() -> None:
    names = tuple("abcde")
    validation = measured(*scored(300, 5, seed=1), LabelSets(names))
    assert validation.settled.tuned
    chosen = validation.settled.threshold
    scores, true = scored(300, 5, seed=1)
    f1 = {threshold: f1_score(true, scores >= np.float32(threshold), average="micro") for threshold in GRID}
    assert f1[chosen] == max(f1.values())
    scores, true = scored(300, 5, seed=2)
    test = measured(scores, true, validation.settled)
    given = scores >= np.float32(chosen)
    assert test.settled.threshold == test.details.threshold == chosen
    assert test.metrics["f1_micro"] == pytest.approx(f1_score(true, given, average="micro"))
    assert test.metrics["f1_macro"] == pytest.approx(f1_score(true, given, average="macro", zero_division=0))
    assert test.metrics["subset_accuracy"] == pytest.approx(accuracy_score(true, given))
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        each = score(true, given, average=None, zero_division=0)
        assert [getattr(one, name) for one in test.details.per_class] == pytest.approx(each)
    assert [one.rows for one in test.details.per_class] == true.sum(axis=0).tolist()


def test_a_threshold_of_the_manifest_counts_whatever_is_better() -> None:
    space = LabelSets(("a", "b"), tuple(sorted({*GRID, 0.333})), 0.333)
    scores, true = scored(200, 2)
    found = measured(scores, true, space)
    assert (found.details.threshold, found.details.tuned, found.settled) == (0.333, False, space)
    assert found.metrics["f1_micro"] == pytest.approx(f1_score(true, scores >= np.float32(0.333), average="micro"))


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_chosen() -> None:
    scores, true = np.array([[0.2], [0.9]], dtype=np.float32), np.array([[0.0], [1.0]], dtype=np.float32)
    assert measured(scores, true, LabelSets(("a",))).settled.threshold == 0.5
    assert measured(scores / 2, true, LabelSets(("a",))).settled.threshold == 0.45
