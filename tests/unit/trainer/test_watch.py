"""When early stopping ends a training, and which step's weights are kept."""

from collections.abc import Callable
from math import nan
from typing import Any

import pytest

from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.training.kept_weights import KeptWeights
from kubetune_trainer.training.watch import Watch
from support.tiny_models import spec_for


class FakeWeights(KeptWeights):
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def keep(self) -> None:
        self.asked.append("keep")

    def put_back(self) -> None:
        self.asked.append("put back")


def watched(
    values: list[float],
    training: dict[str, Any],
    metric: str | None = "validation/loss",
    agreed: Callable[[float], float] = lambda value: value,
) -> tuple[int, int, list[str]]:
    """The evaluation after which it ends, the one whose weights are kept, and what was asked of the weights."""
    evaluation = {"primaryMetric": metric} if metric else {}
    spec = spec_for("SequenceClassification", training=training, evaluation=evaluation)
    weights = FakeWeights()
    watch = Watch(spec, weights, agreed)
    step = 0
    for step, value in enumerate(values, 1):
        watch.take(EvaluationRecord("validation", step, step, {"loss": value, "accuracy": value}))
        if watch.ends:
            break
    return step, watch.choose(step), weights.asked


@pytest.mark.parametrize(
    ("values", "stopping", "ends", "kept"),
    [
        pytest.param([3, 2, 1], {"patience": 1}, 3, 3, id="always better"),
        pytest.param([3, 2, 2, 1], {"patience": 1}, 3, 2, id="equal is not better"),
        pytest.param([1, 2, 2, 0.5, 2, 2, 2, 2], {"patience": 3}, 7, 4, id="an improvement starts the count anew"),
        pytest.param([3, 2.95, 2.9, 1], {"patience": 2, "minDelta": 0.1}, 3, 3, id="too small an improvement"),
        pytest.param([2, nan, nan, 1], {"patience": 2}, 3, 1, id="NaN is no improvement"),
        pytest.param([nan, 2, 1], {"patience": 2}, 3, 3, id="anything is better than NaN"),
        pytest.param([nan, nan, 1], {"patience": 2}, 2, 2, id="nothing but NaN keeps the last"),
    ],
)
def test_the_training_ends_when_it_no_longer_improves(
    values: list[float], stopping: dict[str, Any], ends: int, kept: int
) -> None:
    assert watched(values, {"earlyStopping": stopping})[:2] == (ends, kept)


def test_a_metric_whose_highest_value_is_the_best_is_followed_upwards() -> None:
    assert watched([0.5, 0.9, 0.7], {"keep": "Best"}, "validation/accuracy")[1] == 2


def test_an_unset_metric_is_the_headline_of_the_task_on_the_validation_split() -> None:
    assert watched([0.5, 0.9, 0.7], {"keep": "Best"}, metric=None)[1] == 2


def test_the_best_weights_are_kept_as_they_come_and_put_back_unless_they_are_the_last() -> None:
    assert watched([3, 2, 4], {"keep": "Best"}) == (3, 2, ["keep", "keep", "put back"])
    assert watched([3, 2], {"keep": "Best"}) == (2, 2, ["keep", "keep"])


def test_the_last_weights_stay_where_the_job_wants_them() -> None:
    assert watched([1, 2, 3], {"keep": "Last", "earlyStopping": {"patience": 1}}) == (2, 2, [])
    assert watched([1, 2, 3], {}) == (3, 3, [])


def test_a_rank_decides_by_the_values_of_rank_0_and_not_by_its_own() -> None:
    of_rank_0 = iter([3.0, 2.0, 2.5])
    training = {"keep": "Best", "earlyStopping": {"patience": 1}}
    own = [3.0, 2.0, 2.0 - 1e-15, 1.0]
    assert watched(own, training, agreed=lambda _: next(of_rank_0)) == (3, 2, ["keep", "keep", "put back"])
