"""How a run ends in which nothing moves any more."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import NoReturn

import pytest

from kubetune_api.reasons import REASONS, Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.watchdog.beats import Beat, Sender
from kubetune_trainer.watchdog.hangs import Hangs
from kubetune_trainer.watchdog.pulse import STEP
from kubetune_trainer.watchdog.watchdog import Watchdog

STUCK = Beat(Sender(1, "gpu-1", "node-1", 101), 0, STEP, "takes step 5", 5, 0.0, (0.1, 0.1))


class GivenUp(BaseException):
    """This process would have ended."""


class Run:
    """A run of one rank that hangs."""

    def __init__(
        self,
        beats: Callable[[], Sequence[Beat] | None] = lambda: (STUCK,),
        *,
        dies: bool = True,
        patience: float = 60.0,
    ) -> None:
        self.killed: list[Beat] = []
        self.given_up: list[RunError] = []
        self.notes: list[str] = []
        self._dies, self._ended, seconds = dies, threading.Event(), count(step=3)
        self.watchdog = Watchdog(
            beats,
            Hangs(10),
            self._kill,
            self._give_up,
            self.notes.append,
            seconds=0.001,
            patience=patience,
            now=lambda: float(next(seconds)),
        )

    def _kill(self, beats: Sequence[Beat]) -> None:
        self.killed += beats
        if not self._dies:
            raise OSError("nobody may")
        self._ended.set()

    def _give_up(self, error: RunError) -> NoReturn:
        self.given_up.append(error)
        self._ended.set()
        raise GivenUp

    def train(self) -> None:
        """Waits for the rank, as Ray does."""
        with self.watchdog.watching():
            assert self._ended.wait(60)
            raise RuntimeError("a worker died")


def test_the_processes_end_and_the_error_is_the_watchdogs() -> None:
    run = Run()
    with pytest.raises(RunError, match=r"^rank 1 \(node gpu-1, process 101\) .*takes step 5") as found:
        run.train()
    assert found.value.reason == Reason.HUNG
    assert isinstance(found.value.__cause__, RuntimeError)
    assert (run.killed, run.given_up) == ([STUCK], [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_where_killing_does_not_help_the_process_gives_up() -> None:
    run = Run(dies=False, patience=0.0)
    with pytest.raises(RunError):
        run.train()
    assert [error.reason for error in run.given_up] == [Reason.HUNG]


def test_an_error_of_the_training_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match="of its own"), Run(lambda: None).watchdog.watching():
        raise ValueError("of its own")


def test_what_cannot_be_read_now_is_no_hang() -> None:
    run, looked = Run(lambda: None), threading.Event()
    with run.watchdog.watching():
        looked.wait(0.05)
    assert run.watchdog.error is None


def test_a_slow_rank_is_told_while_the_run_goes_on() -> None:
    looks, looked = count(), threading.Event()

    def beats() -> list[Beat]:
        moved = next(looks)
        if moved == 60:
            looked.set()
        one, two = (
            replace(STUCK, sender=Sender(rank, "gpu", pid=rank), number=moved, changes=moved) for rank in (0, 1)
        )
        return [replace(one, forward=(1.0, 1.0)), replace(two, forward=(2.0, 2.0))]

    run = Run(beats)
    with run.watchdog.watching():
        assert looked.wait(60)
    assert run.watchdog.error is None
    assert [note.partition(" takes ")[0] for note in run.notes] == ["rank 1 (node gpu, process 1)"]


def test_a_run_that_hung_gets_another_attempt() -> None:
    assert REASONS[Reason.HUNG].retry == "Counted"
