"""How sure an evaluation is: against the normal distribution, and the same however rows are shared out."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from kubetune_trainer.figures import Interval
from kubetune_trainer.tasks.base import Losses, MicroBatch
from kubetune_trainer.tasks.classification import Classification, Labels
from kubetune_trainer.training.bootstrap import MOST_BYTES, REPLICATES, Replicates, draws, fits, intervals

TASK, SPACE = Classification(), Labels(("a", "b"))


class Sized(Classification):
    """Its tally has so many numbers."""

    def __init__(self, size: int) -> None:
        self.size = size

    def tally(self, losses: Losses, batch: MicroBatch, space: Labels) -> dict[str, torch.Tensor]:
        return {"numbers": torch.ones(self.size)}


def judged(rows: list[int]) -> tuple[Losses, MicroBatch]:
    """Of every five rows one is wrong."""
    right = np.array(rows) % 5 != 0
    targets = torch.tensor([row % 2 for row in rows])
    answers = torch.where(torch.from_numpy(right), targets, 1 - targets)
    logits = torch.nn.functional.one_hot(answers, 2).float()
    losses = torch.tensor([1.0 + row % 3 for row in rows])
    return Losses(losses, logits), MicroBatch({}, targets, np.array(rows, dtype=np.int64))


def replicates(*shares: list[int]) -> Replicates:
    found = Replicates(TASK, SPACE)
    for share in shares:
        found.add(*judged(share))
    return found


def intervals_of(found: Replicates) -> dict[str, Interval]:
    return intervals(found.sums, found.rows, lambda tally: TASK.measure(tally, SPACE).metrics)


def test_the_interval_of_an_accuracy_is_that_of_the_normal_distribution() -> None:
    rows = 500
    low, high = intervals_of(replicates(list(range(rows))))["accuracy"]
    spread = 1.96 * math.sqrt(0.8 * 0.2 / rows)
    assert (low, high) == pytest.approx((0.8 - spread, 0.8 + spread), abs=0.01)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    low, high = intervals_of(replicates(list(range(600))))["loss"]
    spread = 1.96 * math.sqrt(2 / 3 / 600)
    assert (low, high) == pytest.approx((2 - spread, 2 + spread), abs=0.015)


def test_every_metric_of_the_task_has_an_interval_around_it() -> None:
    found = replicates(list(range(200)))
    losses, batch = judged(list(range(200)))
    tally = {name: counts.double().numpy() for name, counts in TASK.tally(losses, batch, SPACE).items()}
    metrics = TASK.measure(tally, SPACE).metrics
    made = intervals_of(found)
    assert made.keys() == metrics.keys()
    assert all(made[name].low < value < made[name].high for name, value in metrics.items())


def test_however_rows_are_shared_out_the_replicates_are_the_same() -> None:
    whole, one, other = replicates(list(range(40))), replicates([3, 17, 39]), Replicates(TASK, SPACE)
    rest = [row for row in range(39, -1, -1) if row not in (3, 17, 39)]
    other.add(*judged(rest[:20]))
    other.add(*judged(rest[20:]))
    for name, sums in whole.sums.items():
        assert one.sums[name] + other.sums[name] == pytest.approx(sums)
    assert (one.rows + other.rows == whole.rows).all()


def test_a_batch_without_rows_adds_only_shapes() -> None:
    losses, batch = judged([0])
    nothing = MicroBatch({}, torch.full_like(batch.targets, -100), np.empty(0, dtype=np.int64))
    found = Replicates(TASK, SPACE)
    found.add(Losses(losses.rows * 0, losses.outputs), nothing)
    assert found.sums["confusion"].shape == (REPLICATES, 2, 2)
    assert not any(sums.any() for sums in found.sums.values())


def test_a_row_counts_once_on_average_and_by_itself() -> None:
    drawn = draws(np.arange(300))
    assert drawn.mean() == pytest.approx(1, abs=0.02)
    assert drawn.var() == pytest.approx(1, abs=0.03)
    assert (draws(np.array([7])) == drawn[:, 7:8]).all()


def test_replicates_without_rows_are_not_measured_and_one_row_has_no_interval() -> None:
    assert intervals_of(replicates([1])) == {}


def test_a_metric_that_is_often_no_number_has_no_interval() -> None:
    sums = {"rows": np.arange(REPLICATES, dtype=np.float64)}

    def measure(tally: dict[str, Any]) -> dict[str, float]:
        count = float(tally["rows"])
        return {"seldom": count if count else math.nan, "often": count if count > REPLICATES / 2 else math.inf}

    found = intervals(sums, np.ones(REPLICATES), measure)
    assert found.keys() == {"seldom"}


def test_where_slices_would_take_too_much_only_all_rows_are_drawn_again() -> None:
    masks = {str(number): np.ones(9, dtype=np.bool_) for number in range(9)}
    small, large = Replicates(TASK, SPACE, masks), Replicates(Sized(MOST_BYTES // REPLICATES // 8), SPACE, masks)
    for found in (small, large):
        found.add(*judged(list(range(9))))
    assert all(one.rows.any() for one in small.slices.values())
    assert large.rows.any()
    assert not any(one.sums for one in large.slices.values())


@pytest.mark.parametrize(("labels", "fit"), [(200, True), (300, False)])
def test_a_tally_that_is_too_large_is_not_drawn_again(labels: int, fit: bool) -> None:
    assert fits({"loss": torch.zeros(()), "confusion": torch.zeros(labels, labels)}) is fit
