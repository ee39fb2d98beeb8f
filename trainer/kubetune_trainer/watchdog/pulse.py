"""What this process does, and since when: marked where that changes, read by the thread that tells of it.

One for each process, like its log: whoever evaluates or writes answers deep down would have to be handed it through
everything between.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import monotonic

_RECENT = 50
"""How many durations of what it does are remembered."""
_FEWEST = 20
"""Fewer steps say nothing of how long forward passes take."""


@dataclass(frozen=True)
class Doing:
    """Something that a rank does."""

    words: str
    """As "rank 1 …" goes on; `{number}` stands for which one it is."""
    seconds: float
    """How long it may take while nothing is known of how long it does."""
    steady: bool = False
    """Whether the next one takes about as long as those before."""
    elsewhere: bool = False
    """Whether other threads do it, and this one waits for them."""


LOADING = Doing("loads the model", 1800)
STARTING = Doing("sets the training up", 1800)
RESUMING = Doing("reads the checkpoint", 1800)
STEP = Doing("takes step {number:,}", 600, steady=True)
EVALUATING = Doing("evaluates", 600, steady=True)
MEASURING = Doing("works out metrics", 900)
ASKING = Doing("reads prompts", 600)
WRITING = Doing("writes answers", 600, steady=True)
"""A token of each: how many they have follows from the rows."""
SAVING = Doing("copies its part of a checkpoint", 600)
WAITING = Doing("waits for the upload of a checkpoint", 1800, elsewhere=True)
GATHERING = Doing("puts the model together", 1800)
UPLOADING = Doing("uploads the model", 7200)
VERIFYING = Doing("verifies the model", 7200)
ENDED = Doing("has ended", float("inf"))


@dataclass(frozen=True)
class Mark:
    """What a process does."""

    doing: Doing
    number: int
    changes: int
    """How many marks there were before: where this one stays the same, nothing moves."""
    since: float
    thread: int
    """Which thread of the process."""

    @property
    def words(self) -> str:
        """For people."""
        return self.doing.words.format(number=self.number)


class Pulse:
    """Takes the marks of a process."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self.now = now
        self._lock = threading.Lock()
        self.last = Mark(LOADING, 0, 0, now(), threading.get_ident())
        self._recent: dict[Doing, deque[float]] = {}
        self._passes: deque[tuple[float, int]] = deque(maxlen=_RECENT)

    def mark(self, doing: Doing, number: int = 0) -> None:
        """From now on it does this; once more the same is a change too."""
        with self._lock:
            last, now = self.last, self.now()
            if last.doing.steady:
                self._recent.setdefault(last.doing, deque(maxlen=_RECENT)).append(now - last.since)
            self.last = Mark(doing, number, last.changes + 1, now, threading.get_ident())

    def signs(self) -> Callable[[], None]:
        """What tells, from any thread, that what the calling one does goes on.

        It counts only where that one has marked last, or waits for others: a thread that uploads a checkpoint says
        nothing of a training that hangs meanwhile.
        """
        caller = threading.get_ident()

        def goes_on() -> None:
            with self._lock:
                if self.last.thread == caller or self.last.doing.elsewhere:
                    self.last = replace(self.last, changes=self.last.changes + 1)

        return goes_on

    def durations(self, doing: Doing) -> tuple[float, float] | None:
        """How long it took of late: the median and the longest, in seconds; None where that is not known."""
        # A copy: another thread marks meanwhile.
        recent = list(self._recent.get(doing, ()))
        return (median(recent), max(recent)) if recent else None

    def passed(self, seconds: float, tokens: int) -> None:
        """The forward passes of a step took so long, for so many tokens with their padding."""
        self._passes.append((seconds, tokens))

    @property
    def forward(self) -> tuple[float, float] | None:
        """The medians of late: the seconds of a step's forward passes, and of one of their tokens."""
        passes = list(self._passes)
        if len(passes) < _FEWEST:
            return None
        return median(seconds for seconds, _ in passes), median(seconds / tokens for seconds, tokens in passes)


PULSE = Pulse()
"""That of this process."""
