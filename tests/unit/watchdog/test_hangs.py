"""When ranks hang, which of them is named, and what is said."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from kubetune_trainer.watchdog.beats import Beat, Beats, Sender, exchange_of, place_of
from kubetune_trainer.watchdog.hangs import Hang, Hangs, all_pids
from kubetune_trainer.watchdog.pulse import ENDED, EVALUATING, MEASURING, STEP, WAITING, Doing, Pulse


def beat(
    rank: int,
    number: int,
    changes: int,
    doing: Doing = STEP,
    durations: tuple[float, float] | None = (1.0, 1.5),
    exchange: str = "",
    place: str = "",
) -> Beat:
    words = doing.words.format(number=12)
    sender = Sender(rank, f"gpu-{rank}", f"node-{rank}", 100 + rank)
    return Beat(
        sender, number, doing, words, changes, 0.0, durations, f"stacks of {rank}\n", place=place, exchange=exchange
    )


def hang_of(ranks: dict[int, Beat], hangs: Hangs, seconds: int, *, stopped: tuple[int, ...] = ()) -> tuple[int, Hang]:
    """The second at which it is seen that nothing moves; those that are stopped send no more beats."""
    for second in range(0, seconds, 3):
        heard = [each if rank in stopped and second else replace(each, number=second) for rank, each in ranks.items()]
        if found := hangs.judge(heard, float(second)):
            return second, found
    pytest.fail("nothing hangs")


def never(ranks: dict[int, Beat], hangs: Hangs, seconds: int) -> bool:
    beats = ([replace(each, number=second) for each in ranks.values()] for second in range(0, seconds, 3))
    return all(hangs.judge(heard, 3.0 * number) is None for number, heard in enumerate(beats))


def test_ranks_that_move_do_not_hang() -> None:
    hangs = Hangs()
    for second in range(0, 600, 3):
        assert hangs.judge([beat(0, second, second), beat(1, second, 5)], float(second)) is None


@pytest.mark.parametrize(
    ("usual", "longest", "allowed"),
    [(0.1, 0.2, 60), (4.0, 5.0, 80), (10.0, 12.0, 120), (40.0, 50.0, 200)],
    ids=["at least a minute", "twenty of the usual ones", "at most two minutes", "four of the longest"],
)
def test_what_a_step_may_take_follows_from_those_before(usual: float, longest: float, allowed: int) -> None:
    second, found = hang_of({0: beat(0, 0, 5, durations=(usual, longest))}, Hangs(), 900)
    assert allowed < second <= allowed + 3
    assert found.seconds == second


def test_the_manifest_may_say_how_long_a_step_may_take() -> None:
    second, _ = hang_of({0: beat(0, 0, 5, durations=(40.0, 50.0))}, Hangs(20), 900)
    assert second == 21


def test_the_first_of_its_kind_has_time() -> None:
    first = {0: beat(0, 0, 5, durations=None)}
    assert never(first, Hangs(20), 600)
    assert hang_of(first, Hangs(20), 900)[0] > 600


def test_metrics_have_the_time_of_a_metric_of_ones_own() -> None:
    assert never({0: beat(0, 0, 5, MEASURING, durations=None)}, Hangs(), 600)


def test_a_stopped_rank_is_named_with_what_the_others_wait_for() -> None:
    ranks = {0: beat(0, 0, 5, exchange="all_reduce"), 1: beat(1, 0, 5)}
    second, found = hang_of(ranks, Hangs(), 300, stopped=(1,))
    assert second <= 63
    assert found.sentence == (
        f"rank 1 (node gpu-1, process 101) has not answered for {second} seconds: it was stopped, or its node was"
        " (its last sign was that it takes step 12); the others wait in all_reduce"
    )


def test_a_rank_that_stays_silent_is_named_whatever_the_others_do() -> None:
    """Where they work out metrics, they might go on for fifteen minutes."""
    others = {0: beat(0, 0, 7, MEASURING, None, "all_reduce"), 1: beat(1, 0, 5, EVALUATING)}
    second, found = hang_of(others, Hangs(), 300, stopped=(1,))
    assert second <= 120
    assert found.silent == {1: float(second)}


def test_a_silent_rank_does_not_matter_while_the_others_move() -> None:
    hangs = Hangs()
    for second in range(0, 600, 3):
        assert hangs.judge([beat(0, second, second), beat(1, 0, 5)], float(second)) is None


def test_what_a_stopped_rank_did_last_gives_the_others_no_more_time() -> None:
    ranks = {0: beat(0, 0, 5, exchange="all_reduce"), 1: beat(1, 0, 5, EVALUATING, durations=(60.0, 100.0))}
    assert hang_of(ranks, Hangs(), 900, stopped=(1,))[0] <= 63


def test_of_ranks_that_answer_the_one_is_named_that_does_not_wait_for_others() -> None:
    ranks = {rank: beat(rank, 0, 5, exchange="broadcast") for rank in range(3)}
    ranks[1] = beat(1, 0, 5, place="collate (training.collate, line 30)")
    _, found = hang_of(ranks, Hangs(), 300)
    assert [one.sender.rank for one in found.concerned] == [1]
    assert found.sentence == (
        "rank 1 (node gpu-1, process 101) takes step 12 for 63 seconds, in collate (training.collate, line 30);"
        " the others wait in broadcast"
    )
    assert found.stacks.startswith("Rank 1 takes step 12.\nstacks of 1\n")
    assert "stacks of 2" in found.stacks


def test_where_all_wait_for_each_other_the_first_are_named() -> None:
    ranks = {rank: beat(rank, 0, 5, exchange="barrier") for rank in range(8)}
    _, found = hang_of(ranks, Hangs(), 300)
    assert "rank 2 (node gpu-2, process 102) takes step 12 for 63 seconds, where it waits in barrier" in found.sentence
    assert found.sentence.endswith("; so do 5 other ranks")


def test_ranks_that_have_ended_are_not_waited_for() -> None:
    ended = {rank: beat(rank, 0, 5, ENDED) for rank in range(2)}
    assert never(ended, Hangs(10), 600)
    ended[0] = beat(0, 0, 5)
    assert [one.sender.rank for one in hang_of(ended, Hangs(), 300, stopped=(1,))[1].beats] == [0]


def test_time_in_which_nobody_looked_does_not_count() -> None:
    """The whole machine was stopped, the driver with it."""
    hangs = Hangs()
    assert hangs.judge([beat(0, 0, 5)], 0.0) is None
    assert hangs.judge([beat(0, 0, 5)], 3600.0) is None
    assert hangs.judge([beat(0, 1, 6)], 3603.0) is None


def test_processes_are_known_by_their_nodes() -> None:
    assert all_pids([beat(0, 0, 0), beat(1, 0, 0)]) == {"node-0": [100], "node-1": [101]}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pulse_knows_how_long_steps_take() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    for seconds in (1.0, 2.0, 9.0):
        pulse.mark(STEP, 1)
        clock.now += seconds
    assert pulse.durations(STEP) == (1.5, 2.0)
    pulse.mark(EVALUATING)
    assert pulse.durations(STEP) == (2.0, 9.0)
    assert pulse.durations(EVALUATING) is None


def test_a_beat_has_stacks_once_nothing_has_changed_since_the_one_before() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    pulse.mark(STEP, 1200)
    beats = Beats(Sender(0, "here"), lambda _: None, pulse)
    first, clock.now = beats.next(), 4.0
    second = beats.next()
    assert (first.stacks, first.words, first.seconds) == ("", "takes step 1,200", 0.0)
    assert second.seconds == 4.0
    assert (second.number, second.changes) == (first.number + 1, first.changes)
    told: list[Beat] = []
    # The thread that sends does not tell of itself.
    thread = threading.Thread(target=lambda: told.append(beats.next()))
    thread.start()
    thread.join()
    assert test_a_beat_has_stacks_once_nothing_has_changed_since_the_one_before.__name__ in told[0].stacks
    pulse.mark(STEP, 1201)
    assert beats.next().stacks == ""


def test_the_last_beat_says_that_the_rank_has_ended() -> None:
    sent: list[Beat] = []
    with Beats(Sender(0, "here"), sent.append, Pulse(), seconds=60.0):
        pass
    assert sent[-1].doing == ENDED


def test_a_frame_tells_what_it_waits_in() -> None:
    """In files by the names of torch's own and of ours."""
    here: dict[str, object] = {"__name__": "kubetune_trainer.training.loop", "frame": sys._getframe}
    exec(compile("def inner():\n    return frame()\n", "/x/torch/distributed/distributed_c10d.py", "exec"), here)
    exec(compile("def all_reduce():\n    return inner()\n", "/x/torch/distributed/distributed_c10d.py", "exec"), here)
    frame = here["all_reduce"]()  # type: ignore[operator]
    assert exchange_of(frame) == "all_reduce"
    assert place_of(frame) == "inner (training.loop, line 2)"
    assert (exchange_of(None), place_of(None)) == ("", "")


def test_what_another_thread_does_is_a_sign_only_for_who_waits_for_it() -> None:
    pulse = Pulse(lambda: 0.0)
    own = pulse.signs()
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(pulse.signs).result()
        changes = []
        for doing in (STEP, WAITING):
            pulse.mark(doing)
            for goes_on in (own, others):
                before = pulse.last.changes
                pool.submit(goes_on).result()
                changes.append(pulse.last.changes - before)
    assert changes == [1, 0, 1, 1]
