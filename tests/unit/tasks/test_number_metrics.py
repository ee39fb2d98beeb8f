"""Errors and correlations as sums, against scikit-learn and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from kubetune_trainer.tasks.number_metrics import Frame, RegressionDetails, number_metrics, ranks, sums
from kubetune_trainer.training.bootstrap import fits


def frames_of(values: np.ndarray) -> tuple[Frame, ...]:
    return tuple(Frame(float(v.mean()), float(v.std()), float(v.min()), float(v.max())) for v in values.T)


def judged(true: np.ndarray, said: np.ndarray, shares: int = 3) -> tuple[dict[str, float], RegressionDetails]:
    """As an evaluation judges them: the sum of what each share of the rows adds."""
    frames, places, total = frames_of(true), ranks(true), {}
    for rows in np.array_split(np.arange(len(true)), shares):
        parts = (torch.from_numpy(np.asarray(values[rows], dtype=np.float64)) for values in (true, said, places))
        for name, counts in sums(*parts, frames).items():
            total[name] = total.get(name, 0) + counts.double().numpy()
    return number_metrics(total, frames)


def noisy(rows: int, noise: float, *, offset: float = 0.0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    true = random.normal(size=(rows, 1))
    said = 0.3 * true + noise * random.normal(size=(rows, 1))
    return offset + scale * true, offset + scale * said


@pytest.mark.parametrize(
    ("true", "said"),
    [
        pytest.param(*noisy(2000, 0.2), id="near"),
        pytest.param(*noisy(2000, 5.0), id="far"),
        pytest.param(*noisy(2000, 1e-3, offset=1e6, scale=1e-2), id="a large mean and a small spread"),
        pytest.param(np.round(noisy(900, 0.5)[0]), noisy(900, 0.5)[1], id="true values with many ties"),
        pytest.param(np.round(noisy(900, 0.5)[0]), np.round(noisy(900, 0.5)[1]), id="ties in both"),
        pytest.param(np.exp(3 * noisy(900, 0.5)[0]), np.exp(3 * noisy(900, 0.5)[1]), id="a long tail"),
        pytest.param(noisy(900, 0.5)[0], 0.02 + 1e-3 * noisy(900, 0.5)[1], id="predictions that hardly vary"),
    ],
)
def test_one_number_is_judged_as_scikit_learn_and_scipy_judge_it(true: np.ndarray, said: np.ndarray) -> None:
    metrics, details = judged(true, said)
    one, other = true[:, 0], said[:, 0]
    assert metrics["mse"] == pytest.approx(mean_squared_error(one, other))
    assert metrics["rmse"] == pytest.approx(math.sqrt(mean_squared_error(one, other)))
    assert metrics["mae"] == pytest.approx(mean_absolute_error(one, other))
    assert metrics["r2"] == pytest.approx(r2_score(one, other))
    assert metrics["pearson"] == pytest.approx(pearsonr(one, other).statistic, abs=1e-6)
    assert metrics["spearman"] == pytest.approx(spearmanr(one, other).statistic, abs=1e-2)
    assert details.baseline_rmse == pytest.approx(true.std())
    assert details.per_value[0].spread == pytest.approx(other.std() / one.std(), rel=1e-5)


def test_ranks_of_predictions_are_as_fine_as_the_docs_say() -> None:
    true, said = noisy(5000, 0.5)
    metrics, _ = judged(true, said)
    assert metrics["spearman"] == pytest.approx(spearmanr(true[:, 0], said[:, 0]).statistic, abs=1e-4)


def test_several_numbers_are_judged_by_the_mean_over_them() -> None:
    random = np.random.default_rng(1)
    true = random.normal(size=(400, 3)) * (1, 10, 0.1)
    said = true + random.normal(size=(400, 3)) * (1, 1, 0.1)
    metrics, details = judged(true, said)
    assert metrics["mse"] == pytest.approx(mean_squared_error(true, said))
    assert metrics["mae"] == pytest.approx(mean_absolute_error(true, said))
    assert metrics["r2"] == pytest.approx(r2_score(true, said))
    for name, theirs in (("pearson", pearsonr), ("spearman", spearmanr)):
        each = [theirs(true[:, place], said[:, place]).statistic for place in range(3)]
        assert [getattr(one, name) for one in details.per_value] == pytest.approx(each, abs=1e-3)
        assert metrics[name] == pytest.approx(np.mean(each), abs=1e-3)


def test_predictions_that_are_all_alike_have_no_correlation_and_an_r2() -> None:
    true, _ = noisy(50, 0.0)
    metrics, details = judged(true, np.full_like(true, true.mean()))
    assert metrics["r2"] == pytest.approx(0)
    assert math.isnan(metrics["pearson"])
    assert math.isnan(metrics["spearman"])
    assert metrics["rmse"] == pytest.approx(details.baseline_rmse)
    assert details.per_value[0].spread == pytest.approx(0, abs=1e-6)


def test_values_that_are_all_alike_have_neither() -> None:
    frames = (Frame(0.0, 1.0, -1.0, 1.0),)
    true, said = torch.ones(5, 1, dtype=torch.float64), torch.arange(5.0, dtype=torch.float64)[:, None]
    rank = torch.from_numpy(ranks(true.numpy())).double()
    tally = {name: counts.double().numpy() for name, counts in sums(true, said, rank, frames).items()}
    metrics, _ = number_metrics(tally, frames)
    assert all(math.isnan(metrics[name]) for name in ("r2", "pearson", "spearman"))
    assert metrics["mae"] == pytest.approx(1.4)


def test_equal_values_share_the_middle_of_their_ranks() -> None:
    assert ranks(np.array([[3.0], [1.0], [1.0], [2.0]]))[:, 0].tolist() == [0.375, -0.25, -0.25, 0.125]


@pytest.mark.parametrize("numbers", [1, 2, 6])
def test_what_is_counted_is_small_enough_for_intervals(numbers: int) -> None:
    true = torch.randn(4, numbers, dtype=torch.float64)
    assert fits(sums(true, true, true, frames_of(true.numpy())))


def test_the_plot_has_every_row_those_beyond_its_edges_too() -> None:
    true, said = noisy(300, 0.3)
    said[0], said[1], said[2] = 1e9, -1e9, np.nan
    _, details = judged(true, said)
    (scatter,) = details.scatter
    assert sum(rows for *_, rows in scatter.cells) == 300
    assert max(up for _, up, _ in scatter.cells) == 39
    assert min(up for _, up, _ in scatter.cells) == 0
