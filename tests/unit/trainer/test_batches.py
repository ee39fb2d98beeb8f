"""Which rows every rank takes: nothing lost, nothing twice, and the same global batches for any number of workers."""

import itertools
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_trainer.training.batches import BatchPlan, split_batch, split_by_tokens, split_for_evaluation

PLANS = st.builds(
    BatchPlan,
    rows=st.integers(1, 200),
    global_batch_size=st.integers(1, 64),
    micro_batch_size=st.integers(1, 16),
    workers=st.integers(1, 9),
    epochs=st.integers(1, 3),
    max_steps=st.none() | st.integers(1, 50),
)
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=150).map(lambda values: np.array(values, dtype=np.int64))


def plan(rows: int, global_batch_size: int, micro_batch_size: int, workers: int) -> BatchPlan:
    return BatchPlan(rows, global_batch_size, micro_batch_size, workers, epochs=3)


def lengths_of(rows: int) -> np.ndarray:
    return np.random.default_rng(7).integers(1, 20, rows)


@given(PLANS, st.integers(0, 2**32 - 1))
def test_an_epoch_takes_every_row_exactly_once(plan: BatchPlan, seed: int) -> None:
    batches = list(plan.global_batches(1, seed))
    assert sorted(np.concatenate(batches)) == list(range(plan.rows))
    assert len(batches) == plan.steps_per_epoch
    assert all(len(batch) == plan.global_batch_size for batch in batches[:-1])


@given(PLANS, st.integers(1, 9), st.integers(1, 16))
def test_global_batches_do_not_depend_on_how_they_are_shared(plan: BatchPlan, workers: int, micro: int) -> None:
    other = replace(plan, workers=workers, micro_batch_size=micro)
    for mine, theirs in zip(plan.global_batches(0, 3), other.global_batches(0, 3), strict=True):
        assert mine.tolist() == theirs.tolist()


@given(LENGTHS, st.integers(2, 16), st.integers(1, 9))
def test_rows_that_are_compared_share_as_few_micro_batches_as_they_fit_in(
    lengths: np.ndarray, micro: int, workers: int
) -> None:
    rows, passes = np.arange(len(lengths)), ceil(len(lengths) / (micro * workers))
    spread, alone = (
        [share.tolist() for shares in split_batch(rows, lengths, steps, ranks, micro) for share in shares]
        for steps, ranks in ((passes, workers), (ceil(len(lengths) / micro), 1))
    )
    assert spread[: len(alone)] == alone, "the same ones for any number of workers"
    assert not any(spread[len(alone) :])
    assert all(micro // 2 <= len(share) <= micro for share in alone) or len(lengths) < micro


def test_each_epoch_and_each_seed_has_its_own_order() -> None:
    orders = {
        tuple(np.concatenate(list(plan(50, 8, 4, 1).global_batches(epoch, seed))))
        for epoch in (0, 1)
        for seed in (0, 1)
    }
    assert len(orders) == 4


def test_the_order_of_a_seed_is_fixed_for_ever() -> None:
    """A resumed run, and a run of a later version, must see the same rows in the same order."""
    assert [batch.tolist() for batch in plan(10, 4, 4, 1).global_batches(0, 0)] == [[4, 6, 2, 7], [3, 5, 9, 0], [8, 1]]


@given(PLANS)
def test_the_shares_of_a_global_batch_cover_it_within_the_micro_batch(plan: BatchPlan) -> None:
    lengths = lengths_of(plan.rows)
    for batch in plan.global_batches(0, 0):
        passes = split_batch(batch, lengths[batch], plan.accumulation_steps, plan.workers)
        assert len(passes) == plan.accumulation_steps
        assert all(len(shares) == plan.workers for shares in passes)
        shares = [share for shares in passes for share in shares]
        assert sorted(np.concatenate(shares)) == sorted(batch)
        sizes = [len(share) for share in shares]
        assert max(sizes) <= plan.micro_batch_size
        assert max(sizes) - min(sizes) <= 1


@given(PLANS)
def test_dealt_shares_have_the_rows_of_their_global_batch_and_about_as_many_tokens(plan: BatchPlan) -> None:
    lengths = lengths_of(plan.rows)
    for batch in plan.global_batches(0, 0):
        passes = split_batch(batch, lengths[batch], plan.accumulation_steps, plan.workers, evenly=True)
        shares = [share for shares in passes for share in shares]
        assert sorted(np.concatenate(shares)) == sorted(batch)
        sizes = [len(share) for share in shares]
        assert max(sizes) <= plan.micro_batch_size
        assert max(sizes) - min(sizes) <= 1
        tokens = [int(lengths[share].sum()) for share in shares]
        assert max(tokens) - min(tokens) <= lengths[batch].max()


@given(LENGTHS, st.integers(1, 100), st.integers(1, 9))
def test_passes_by_tokens_cover_a_split_within_the_tokens(lengths: np.ndarray, tokens: int, workers: int) -> None:
    passes = split_by_tokens(lengths, tokens, workers)
    assert all(len(shares) == workers for shares in passes)
    shares = [share for shares in passes for share in shares]
    assert sorted(np.concatenate(shares)) == list(range(len(lengths)))
    assert all(len(share) * lengths[share].max() <= max(tokens, lengths[share].max()) for share in shares if len(share))


def test_short_rows_are_judged_in_fewer_passes() -> None:
    lengths = np.array([64] * 8 + [4] * 120)
    assert len(split_by_tokens(lengths, 8 * 64, 1)) == 2
    assert len(split_for_evaluation(lengths, 8, 1)) == 16


@given(LENGTHS, st.integers(1, 16), st.integers(1, 9))
def test_an_evaluation_covers_the_split_within_the_micro_batch(lengths: np.ndarray, micro: int, workers: int) -> None:
    shares = [share for shares in split_for_evaluation(lengths, micro, workers) for share in shares]
    assert sorted(np.concatenate(shares)) == list(range(len(lengths)))
    assert max(len(share) for share in shares) <= micro


@given(LENGTHS)
def test_rows_that_are_padded_together_are_about_equally_long(lengths: np.ndarray) -> None:
    shares = [lengths[shares[0]] for shares in split_for_evaluation(lengths, 8, 1)]
    for longer, shorter in itertools.pairwise(shares):
        assert longer.min() >= shorter.max()


@pytest.mark.parametrize(
    ("rows", "global_batch_size", "micro", "workers", "passes"),
    [
        pytest.param(100, 32, 8, 1, 4, id="one worker takes the batch in four passes"),
        pytest.param(100, 32, 8, 4, 1, id="four workers take it in one"),
        pytest.param(100, 32, 8, 3, 2, id="three workers, which 32 is not divisible by"),
        pytest.param(100, 4, 8, 16, 1, id="more workers than rows in the batch"),
        pytest.param(5, 32, 2, 1, 3, id="fewer rows than a global batch"),
    ],
)
def test_passes_per_step(rows: int, global_batch_size: int, micro: int, workers: int, passes: int) -> None:
    assert plan(rows, global_batch_size, micro, workers).accumulation_steps == passes


@pytest.mark.parametrize(
    ("max_steps", "total"),
    [
        pytest.param(None, 12, id="three epochs of four steps, the last one short"),
        pytest.param(5, 5, id="ended within the second epoch"),
        pytest.param(500, 12, id="a ceiling that is never reached"),
    ],
)
def test_steps_of_a_run(max_steps: int | None, total: int) -> None:
    run = BatchPlan(rows=31, global_batch_size=8, micro_batch_size=8, workers=1, epochs=3, max_steps=max_steps)
    assert run.steps_per_epoch == ceil(31 / 8)
    assert run.total_steps == total


@pytest.mark.parametrize(("max_steps", "epochs", "reached"), [(2, 3, 8), (3, 1, 10), (None, 1, 10), (5, 3, 10)])
def test_the_rows_that_are_reached_are_those_of_the_steps(max_steps: int | None, epochs: int, reached: int) -> None:
    plan = BatchPlan(10, 4, 2, 1, epochs, max_steps)
    taken = [row for epoch in range(epochs) for batch in plan.global_batches(epoch, 7) for row in batch.tolist()]
    first = 4 * plan.total_steps
    assert plan.reached(7).tolist() == sorted(set(taken[:first]))
    assert len(plan.reached(7)) == reached


def test_behind_a_turn_what_is_left_of_the_epoch_comes_in_another_order() -> None:
    straight = plan(50, 8, 4, 1)
    turned, again = replace(straight, turns=(10,)), replace(straight, turns=(10, 12))
    assert straight.steps_per_epoch == 7
    for epoch in (0, 2):
        assert rows_of(turned, epoch) == rows_of(straight, epoch), "a turn is a matter of its epoch"
    before, first, second = (rows_of(one, 1) for one in (straight, turned, again))
    assert first[:24] == before[:24]
    assert first[24:] != before[24:]
    assert second[:40] == first[:40]
    assert second[40:] != first[40:]
    assert sorted(second) == sorted(before) == list(range(50)), "each row once an epoch"


def rows_of(one: BatchPlan, epoch: int) -> list[int]:
    return [int(row) for batch in one.global_batches(epoch, seed=3) for row in batch]


def test_what_judges_rows_of_any_length_takes_no_more_of_them_than_fit_if_all_are_the_longest() -> None:
    assert BatchPlan(50, 32, 32, 1, 1, longest_rows=8).rows_of_any_length == 8
    assert BatchPlan(50, 32, 4, 1, 1).rows_of_any_length == 4
