"""When a checkpoint is due, by steps, by the time, or by what one costs."""

from math import sqrt
from typing import Any

import pytest

from kubetune_api.job import Checkpoints
from kubetune_trainer.checkpoint.interval import (
    BETWEEN_INTERRUPTIONS,
    LONGEST,
    LONGEST_RETRY,
    RETRY,
    SHORTEST,
    Interval,
    best_interval,
    slow_down,
)
from kubetune_trainer.records import StepRecord


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def interval(between: float | None = None, /, **settings: Any) -> tuple[Interval, Clock]:
    clock = Clock()
    return Interval(Checkpoints(**settings), between, clock), clock


def steps(*seconds: float) -> list[StepRecord]:
    return [StepRecord(number, 0.0, 1.0, 1e-3, 1.0, 1, each) for number, each in enumerate(seconds, 1)]


def test_the_best_interval_is_that_of_young_and_daly_within_limits() -> None:
    assert best_interval(2.0, 3600.0) == sqrt(2 * 2.0 * 3600.0)
    assert best_interval(0.0, 3600.0) == SHORTEST
    assert best_interval(1e6, 1e6) == LONGEST


def test_the_steps_beside_an_upload_are_compared_with_quiet_ones() -> None:
    taken = steps(9.0, 1.0, 1.0, 1.5, 1.25)
    assert slow_down(taken, since=1, saved=3) == pytest.approx(0.75)
    assert slow_down(taken[:3], since=1, saved=3) == 0.0
    assert slow_down(taken, since=3, saved=3) == 0.0, "nothing to compare with"
    assert slow_down(steps(1.0, 1.0, 0.5), since=0, saved=2) == 0.0, "a faster step is no gain of the upload"


def test_where_nothing_is_set_the_first_is_due_soon_and_the_next_by_the_cost_of_it() -> None:
    due, clock = interval()
    clock.now += SHORTEST - 1
    assert not due.is_over
    clock.now += 1
    assert due.is_over
    due.begun(3)
    clock.now += 5
    due.committed(1.5, steps(9.0, 1.0, 1.0, 1.5))
    assert due.seconds == best_interval(2.0, BETWEEN_INTERRUPTIONS)
    clock.now += due.seconds - 6
    assert not due.is_over, "it counts from the beginning of the last one"
    clock.now += 1
    assert due.is_over


def test_a_job_that_is_often_interrupted_saves_more_often() -> None:
    often, _ = interval(1800.0)
    often.begun(1)
    often.committed(4.0, steps(1.0))
    assert often.seconds == best_interval(4.0, 1800.0) < best_interval(4.0, BETWEEN_INTERRUPTIONS)


def test_what_an_upload_slowed_down_is_no_measure_for_the_next() -> None:
    due, _ = interval()
    due.begun(2)
    due.committed(0.0, steps(9.0, 1.0, 5.0))
    due.begun(4)
    due.committed(1.0, steps(9.0, 1.0, 5.0, 1.0, 3.0))
    assert due.seconds == best_interval(1.0 + 2.0, BETWEEN_INTERRUPTIONS)


def test_what_the_job_sets_is_not_changed_by_the_cost() -> None:
    timed, clock = interval(every_seconds=100)
    clock.now += 100
    assert timed.is_over
    timed.begun(1)
    timed.committed(1e6, steps(1.0))
    assert timed.seconds == 100
    stepwise, clock = interval(every_steps=5)
    clock.now += 1e9
    assert not stepwise.is_over
    assert stepwise.seconds is None
    assert [step for step in range(1, 12) if stepwise.ends_with(step)] == [5, 10]


def test_one_that_failed_is_tried_again_sooner_and_ever_later() -> None:
    due, clock = interval(every_steps=1000)
    waits = []
    for _ in range(8):
        due.begun(1)
        due.failed(1)
        begun = clock.now
        while not due.is_over:
            clock.now += RETRY
        waits.append(clock.now - begun)
    assert waits == [RETRY * 2**number for number in range(6)] + [LONGEST_RETRY] * 2
    due.begun(1)
    due.committed(1.0, steps(1.0))
    assert not due.is_over
    due.begun(2)
    due.failed(2)
    clock.now += RETRY
    assert due.is_over, "a commit makes the next wait short again"


def test_however_often_saves_fail_the_training_goes_on() -> None:
    due, _ = interval(every_steps=1)
    for number in range(2000):
        due.begun(number)
        due.failed(number)


def test_a_retry_is_never_later_than_the_next_that_is_due() -> None:
    due, clock = interval(every_seconds=5)
    due.begun(1)
    due.failed(1)
    clock.now += 5
    assert due.is_over
