"""Whether one rank is slower than the others at the same work, by its beats: no thread, no clock of its own.

Every step takes as long as its slowest rank, so the steps of all ranks look alike. What is compared is the forward
passes alone, in which a rank waits for no other: by their time, and by their time for each token, as the ranks' shares
differ in length. Only one that is slower by both is; short sequences take more time for each of their tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from kubetune_trainer.watchdog.beats import Beat, Sender

FACTOR = 2.0
_LASTING_SECONDS = 60.0
_QUIET_SECONDS = 600.0
"""Between two times that a slow rank is told."""


@dataclass(frozen=True)
class Straggler:
    """A rank for which the others wait in every step."""

    sender: Sender
    factor: float

    @property
    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.sender} takes {self.factor:.1f} times as long as the other workers for its forward passes: each"
            " step waits for it; see what else runs on its node, and whether its accelerator is throttled"
        )


class Stragglers:
    """Hears beats, and says which rank has been slow for long. The times are seconds, of any clock."""

    def __init__(self) -> None:
        self._slow: Straggler | None = None
        self._since = 0.0
        self._quiet_until = 0.0

    def judge(self, beats: Iterable[Beat], now: float) -> Straggler | None:
        """After the last beat of each rank was heard: the rank to tell of now."""
        slow = slowest(beats)
        if slow is None or self._slow is None or slow.sender != self._slow.sender:
            self._since = now
        self._slow = slow
        if slow is None or now - self._since < _LASTING_SECONDS or now < self._quiet_until:
            return None
        self._quiet_until = now + _QUIET_SECONDS
        return slow


def slowest(beats: Iterable[Beat]) -> Straggler | None:
    """The rank that takes `FACTOR` times as long as the median of the others, or longer."""
    known = [(beat.sender, beat.forward) for beat in beats if beat.forward is not None]
    found = [
        Straggler(sender, min(own / median(rest) for own, *rest in _each_with_the_rest(number, known)))
        for number, (sender, _) in enumerate(known)
        if len(known) > 1
    ]
    slow = max(found, key=lambda one: one.factor, default=None)
    return slow if slow is not None and slow.factor >= FACTOR else None


def _each_with_the_rest(number: int, known: list[tuple[Sender, tuple[float, float]]]) -> Iterable[list[float]]:
    """Of each of the two times: that of the rank, then those of the others."""
    for times in zip(*(forward for _, forward in known), strict=True):
        yield [times[number], *times[:number], *times[number + 1 :]]
