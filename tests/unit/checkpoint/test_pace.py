"""The ranks ask each other about once a second, behind the same steps; what has just begun is asked about sooner."""

from kubetune_trainer.checkpoint.pace import Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(pace: Pace, clock: Clock, steps: int, seconds: float) -> list[int]:
    """The steps behind which they ask, each of so many seconds."""
    found = []
    for step in range(1, steps + 1):
        clock.now += seconds
        if pace.comes():
            found.append(step)
            pace.take(pace.measured())
    return found


def settled(seconds: float) -> tuple[Pace, Clock]:
    """One that has seen many steps."""
    clock = Clock()
    pace = Pace(clock)
    asked(pace, clock, 2000, seconds)
    return pace, clock


def test_quick_steps_have_an_exchange_a_second() -> None:
    found = asked(*settled(0.05), 100, 0.05)
    assert 4 <= len(found) <= 6


def test_slow_steps_have_an_exchange_each() -> None:
    assert asked(*settled(3.0), 5, 3.0) == [1, 2, 3, 4, 5]


def test_steps_that_become_slow_are_asked_about_each_soon() -> None:
    found = asked(*settled(0.05), 60, 10.0)
    assert found[-1] - found[-2] == 1


def test_however_quick_the_steps_are_the_next_exchange_comes() -> None:
    found = asked(*settled(1e-6), 300, 1e-6)
    assert len(found) >= 3


def test_what_has_begun_is_asked_about_at_once_and_then_less_and_less() -> None:
    pace, clock = settled(0.05)
    pace.hurry()
    assert asked(pace, clock, 20, 0.05)[:4] == [1, 2, 4, 8]


def test_a_rank_asks_behind_the_steps_that_the_first_one_has_measured() -> None:
    clock = Clock()
    first, other, found = Pace(clock), Pace(lambda: 0.0), []
    for _ in range(500):
        clock.now += 0.03
        both = first.comes(), other.comes()
        found.append(both)
        if both[0]:
            between = first.measured()
            first.take(between)
            other.take(between)
    assert {one == other for one, other in found} == {True}
    assert sum(one for one, _ in found) < 100
