"""Rows of several sequences come to the same on two workers: in-batch negatives, and what the untrained model says."""

import pytest

from support.pair_cases import SPREAD, Came, train_each
from support.ranks import run_ranks


@pytest.fixture(scope="module")
def alone() -> dict[str, Came]:
    tasks = ["Embedding", "Preference"]
    return dict(zip(tasks, run_ranks(train_each, 1, [(task, 0) for task in tasks])[0], strict=True))


@pytest.fixture(scope="module")
def spread() -> dict[tuple[str, int], Came]:
    return dict(zip(SPREAD, run_ranks(train_each, 2, SPREAD)[1], strict=True))


@pytest.mark.parametrize(("task", "stage"), SPREAD)
def test_the_losses_and_metrics_are_those_of_one_worker(
    task: str, stage: int, alone: dict[str, Came], spread: dict[tuple[str, int], Came]
) -> None:
    losses, evaluations = spread[task, stage]
    assert losses == pytest.approx(alone[task][0], abs=1e-3)
    assert losses[-1] < losses[0]
    for mine, theirs in zip(evaluations, alone[task][1], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)
