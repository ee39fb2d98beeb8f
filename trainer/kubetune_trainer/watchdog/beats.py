"""The beats of a rank: what it does, where its threads stand; sent by a thread of its own, so that also one that waits
for ever tells of itself.

Ray opens beats in its helper processes, so this module imports neither torch nor transformers.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from types import FrameType
from typing import Self

from kubetune_trainer.watchdog.pulse import ENDED, Doing, Pulse

BEAT_SECONDS = 2.0
_EXCHANGES = "torch/distributed/distributed_c10d.py"
_OURS = "kubetune_trainer."
_LONGEST = 16_000
"""Of the stacks of a process, in characters."""


@dataclass(frozen=True)
class Sender:
    """Which process sends a beat."""

    rank: int
    node: str
    """For people."""
    node_id: str = ""
    """As Ray names the node; empty without Ray."""
    pid: int = 0

    def __str__(self) -> str:
        return f"rank {self.rank} (node {self.node}, process {self.pid})"


@dataclass(frozen=True)
class Beat:
    """What a rank tells of itself."""

    sender: Sender
    number: int
    """How many it has sent before."""
    doing: Doing
    words: str
    changes: int
    seconds: float
    """Since the last change."""
    durations: tuple[float, float] | None = None
    """How long what it does took of late: the median and the longest."""
    stacks: str = ""
    """Of all threads, where nothing has changed since the beat before."""
    place: str = ""
    """Where in kubetune the thread stands that changed something last: a function and its line."""
    exchange: str = ""
    """What of torch.distributed that thread is in, where it waits for other ranks: `all_reduce`."""
    forward: tuple[float, float] | None = None
    """How long the forward passes of a step take of late, and one of their tokens: see `Pulse.forward`."""


class Beats:
    """Sends the beats of this process while its block lasts; the last one says that it has ended."""

    def __init__(
        self, sender: Sender, send: Callable[[Beat], object], pulse: Pulse, *, seconds: float = BEAT_SECONDS
    ) -> None:
        self._sender, self._send, self._pulse, self._seconds = sender, send, pulse, seconds
        self._numbers, self._changes = count(), -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pulse.mark(ENDED)
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._send(self.next())
            if self._stop.wait(self._seconds):
                self._send(self.next())
                return

    def next(self) -> Beat:
        """The next one."""
        mark = self._pulse.last
        moved, self._changes = mark.changes != self._changes, mark.changes
        frame = None if moved else sys._current_frames().get(mark.thread)
        return Beat(
            sender=self._sender,
            number=next(self._numbers),
            doing=mark.doing,
            words=mark.words,
            changes=mark.changes,
            seconds=self._pulse.now() - mark.since,
            durations=self._pulse.durations(mark.doing),
            forward=self._pulse.forward,
            stacks="" if moved else _stacks(mark.thread),
            place=place_of(frame),
            exchange=exchange_of(frame),
        )


def _stacks(first: int) -> str:
    """Of every thread but this one, that of the number `first` before the others."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    order = sorted(frames.keys() - {threading.get_ident()}, key=lambda thread: thread != first)
    told = [
        f"Thread {names.get(thread, thread)}:\n{''.join(traceback.format_stack(frames[thread]))}" for thread in order
    ]
    return "".join(told)[:_LONGEST]


def _outwards(frame: FrameType | None) -> list[FrameType]:
    """The frame and those that called it, the innermost first."""
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def place_of(frame: FrameType | None) -> str:
    """The innermost function of kubetune."""
    for one in _outwards(frame):
        module = str(one.f_globals.get("__name__", ""))
        if module.startswith(_OURS):
            return f"{one.f_code.co_name} ({module.removeprefix(_OURS)}, line {one.f_lineno})"
    return ""


def exchange_of(frame: FrameType | None) -> str:
    """The outermost function of torch.distributed."""
    found = [one.f_code for one in _outwards(frame) if one.f_code.co_filename.replace(os.sep, "/").endswith(_EXCHANGES)]
    return found[-1].co_name if found else ""
