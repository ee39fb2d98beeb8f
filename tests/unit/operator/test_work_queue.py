"""Which key is handed out when, and to whom."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubetune_operator.machinery.queue import WorkQueue


@dataclass
class Handle:
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Time:
    """A clock that the test moves, with what was put off until later."""

    now: float = 0.0
    timers: list[tuple[float, Callable[[], None], Handle]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> Any:
        handle = Handle()
        self.timers.append((self.now + delay, call, handle))
        return handle

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, call, handle in due:
            if not handle.cancelled:
                call()


def make_queue(time: Time, chance: float = 1.0) -> WorkQueue:
    return WorkQueue(time, lambda: chance, time.call_later)


def next_key(queue: WorkQueue) -> str | None:
    """The key that is handed out now; None if there is none."""

    async def take() -> str | None:
        try:
            async with asyncio.timeout(0.01):
                return await queue.get()
        except TimeoutError:
            return None

    return asyncio.run(take())


def test_keys_are_handed_out_in_the_order_in_which_they_came() -> None:
    queue = make_queue(Time())
    for key in ("a", "b", "c"):
        queue.add(key)
    assert [next_key(queue) for _ in range(4)] == ["a", "b", "c", None]


def test_groups_are_served_in_turn_and_their_keys_in_order() -> None:
    """S3: whoever has many keys keeps nobody waiting behind them."""
    time = Time()
    queue = WorkQueue[str](time, lambda: 1.0, time.call_later, group=lambda key: key[0])
    for key in ("a1", "a2", "a3", "a4", "b1", "c1", "b2"):
        queue.add(key)
    assert len(queue) == 7
    assert [next_key(queue) for _ in range(8)] == ["a1", "b1", "c1", "a2", "b2", "a3", "a4", None]


def test_a_key_that_waits_is_not_handed_out_twice() -> None:
    queue = make_queue(Time())
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    assert [next_key(queue), next_key(queue)] == ["a", None]


def test_a_key_in_hand_is_not_given_to_another() -> None:
    queue = make_queue(Time())
    queue.add("a")
    next_key(queue)
    queue.add("a")
    queue.add("b")
    assert [next_key(queue), next_key(queue)] == ["b", None]


def test_a_key_that_was_added_while_in_hand_is_handed_out_again_once() -> None:
    queue = make_queue(Time())
    queue.add("a")
    next_key(queue)
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    queue.done("a")
    assert [next_key(queue), next_key(queue)] == ["a", None]


def test_a_key_that_is_done_and_was_not_added_again_is_over() -> None:
    queue = make_queue(Time())
    queue.add("a")
    next_key(queue)
    queue.done("a")
    assert len(queue) == 0
    assert next_key(queue) is None


def test_a_key_put_off_comes_at_its_time() -> None:
    time = Time()
    queue = make_queue(time)
    queue.add_after("a", 10)
    time.pass_by(9.9)
    assert next_key(queue) is None
    time.pass_by(0.1)
    assert next_key(queue) == "a"


@pytest.mark.parametrize(
    "delays",
    [
        pytest.param((5, 60), id="the earlier one was said first"),
        pytest.param((60, 5), id="the earlier one was said last"),
    ],
)
def test_of_two_times_the_earlier_one_counts_and_the_later_one_is_forgotten(delays: tuple[int, int]) -> None:
    time = Time()
    queue = make_queue(time)
    for delay in delays:
        queue.add_after("a", delay)
    time.pass_by(5)
    assert next_key(queue) == "a"
    queue.done("a")
    time.pass_by(100)
    assert next_key(queue) is None


def test_a_time_in_the_past_is_now() -> None:
    time = Time()
    queue = make_queue(time)
    queue.add_after("a", -3)
    time.pass_by(0)
    assert next_key(queue) == "a"


def test_a_key_whose_time_comes_while_in_hand_is_handed_out_afterwards() -> None:
    time = Time()
    queue = make_queue(time)
    queue.add("a")
    next_key(queue)
    queue.add_after("a", 1)
    time.pass_by(1)
    assert next_key(queue) is None
    queue.done("a")
    assert next_key(queue) == "a"


def test_whoever_waits_is_woken_by_the_next_key() -> None:
    async def scenario() -> list[str]:
        queue = WorkQueue()
        takers = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        for key in ("a", "b", "c"):
            queue.add(key)
        return await asyncio.gather(*takers)

    assert asyncio.run(scenario()) == ["a", "b", "c"]


def test_the_real_clock_brings_a_key_that_was_put_off() -> None:
    async def scenario() -> str:
        queue = WorkQueue()
        queue.add_after("a", 0.01)
        return await queue.get()

    assert asyncio.run(scenario()) == "a"


@pytest.mark.parametrize("woken", [False, True], ids=["before a key came", "in the moment in which a key came"])
def test_a_taker_that_is_cancelled_takes_no_key_along(woken: bool) -> None:
    async def scenario() -> str:
        queue = WorkQueue()
        first, second = (asyncio.create_task(queue.get()) for _ in range(2))
        await asyncio.sleep(0)
        if woken:
            queue.add("a")
        first.cancel()
        await asyncio.wait([first])
        queue.add("a")
        return await second

    assert asyncio.run(scenario()) == "a"


def test_each_failure_doubles_the_pause_up_to_a_minute() -> None:
    queue = make_queue(Time())
    pauses = [queue.failures("a") for _ in range(12)]
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60, 60])
    assert [queue.failures("a") for _ in range(2000)][-1] == 60


def test_chance_shortens_the_pause_by_half_at_most() -> None:
    assert make_queue(Time(), chance=0.0).failures("a") == pytest.approx(0.1)
    assert make_queue(Time(), chance=0.5).failures("a") == pytest.approx(0.15)


def test_failures_are_counted_for_each_key_until_they_are_forgotten() -> None:
    queue = make_queue(Time())
    queue.failures("a")
    queue.failures("a")
    assert queue.failures("b") == pytest.approx(0.2)
    queue.forget("a")
    assert queue.failures("a") == pytest.approx(0.2)


def test_the_oldest_age_is_that_of_the_key_that_waits_longest() -> None:
    time = Time()
    queue = make_queue(time)
    assert queue.oldest_age == 0
    queue.add("a")
    time.pass_by(3)
    queue.add("b")
    time.pass_by(2)
    assert queue.oldest_age == 5
    next_key(queue)
    assert queue.oldest_age == 2


def test_a_key_added_while_in_hand_has_been_waiting_since_then() -> None:
    time = Time()
    queue = make_queue(time)
    queue.add("a")
    next_key(queue)
    time.pass_by(1)
    queue.add("a")
    time.pass_by(4)
    assert queue.oldest_age == 4
    queue.done("a")
    assert queue.oldest_age == 4
