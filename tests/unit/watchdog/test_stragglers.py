"""Which rank is slower than the others, and when that is told."""

from dataclasses import replace

import pytest

from kubetune_trainer.watchdog.beats import Beat, Sender
from kubetune_trainer.watchdog.pulse import STEP, Pulse
from kubetune_trainer.watchdog.stragglers import Straggler, Stragglers, slowest


def beat(rank: int, seconds: float, per_token: float = 0.001) -> Beat:
    sender = Sender(rank, f"gpu-{rank}", pid=100 + rank)
    return Beat(sender, 0, STEP, "takes step 5", 5, 0.0, forward=(seconds, per_token))


def told(beats: list[Beat], until: int) -> list[int]:
    """The seconds at which it is told."""
    stragglers = Stragglers()
    return [second for second in range(0, until, 2) if stragglers.judge(beats, float(second))]


SLOW = [beat(0, 1.0), beat(1, 2.5, 0.0025), beat(2, 1.1)]


def test_one_that_takes_twice_as_long_is_found() -> None:
    found = slowest(SLOW)
    assert found is not None
    assert found.factor == pytest.approx(2.5 / 1.05)
    assert found.sentence.startswith("rank 1 (node gpu-1, process 101) takes 2.4 times as long as the other workers")


@pytest.mark.parametrize(
    "beats",
    [
        [beat(0, 1.0), beat(1, 1.9, 0.0019)],
        [beat(0, 1.0)],
        [beat(0, 1.0), replace(beat(1, 9.0), forward=None)],
        # The longest rows of a batch go to the first ranks.
        [beat(0, 2.5, 0.001), beat(1, 1.0, 0.001)],
        [beat(0, 1.0, 0.001), beat(1, 0.9, 0.01)],
    ],
    ids=["a little slower", "alone", "unknown", "more tokens", "short sequences"],
)
def test_none_is_found_where_the_work_is_what_differs(beats: list[Beat]) -> None:
    assert slowest(beats) is None


def test_with_two_the_slower_one_is_named() -> None:
    found = slowest([beat(0, 4.0, 0.004), beat(1, 1.0)])
    assert found == Straggler(beat(0, 0.0).sender, 4.0)


def test_it_is_told_once_it_has_lasted_and_then_now_and_then() -> None:
    assert told(SLOW, 1400) == [60, 660, 1260]


def test_what_comes_and_goes_is_not_told() -> None:
    stragglers = Stragglers()
    even = [beat(0, 1.0), beat(1, 1.0)]
    for second in range(0, 1000, 2):
        assert stragglers.judge(SLOW if second % 50 else even, float(second)) is None


def test_a_pulse_knows_its_passes_after_some_steps() -> None:
    pulse = Pulse()
    for step in range(19):
        pulse.passed(1.0 + step % 3, 100)
    assert pulse.forward is None
    pulse.passed(2.0, 100)
    assert pulse.forward == (2.0, 0.02)
