"""Whether ranks hang, by their beats: no thread, no clock of its own, no Ray.

Ranks wait for each other in every step. So a run hangs where no rank has moved for longer than what they do may take;
the ranks concerned are those that do not answer, else those that do not wait for others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubetune_api.text import plural
from kubetune_trainer.watchdog.beats import BEAT_SECONDS, Beat
from kubetune_trainer.watchdog.pulse import ENDED

LEAST_SECONDS = 60.0
"""The least time in which something must move."""
_MOST_OF_STEPS = 120.0
_USUAL, _LONGEST = 20, 4
"""So many times as long as usual, or as the longest of late, is what a step may take."""
SILENT_BEATS = 4
"""A rank of which as many beats are missing does not answer."""
_SILENT_SECONDS = 90.0
"""A rank that has not answered for so long will not, whatever it did."""
_MOST_BETWEEN = 4 * BEAT_SECONDS
"""Where nobody looked for longer, whoever looks did not run itself: that time does not count."""


@dataclass(frozen=True)
class Hang:
    """Nothing moves any more."""

    beats: tuple[Beat, ...]
    """The last of each rank that has not ended."""
    silent: dict[int, float]
    """By rank: for how many seconds it has not answered."""
    seconds: float
    """Since something moved."""

    @property
    def concerned(self) -> list[Beat]:
        """The last beats of the ranks that the others wait for, as far as that can be told."""
        if self.silent:
            return [beat for beat in self.beats if beat.sender.rank in self.silent]
        return [beat for beat in self.beats if not beat.exchange] or list(self.beats)

    @property
    def sentence(self) -> str:
        """For people."""
        concerned = self.concerned
        told = "; ".join(map(self._of_one, concerned[:3]))
        more = len(concerned) - 3
        others = [beat for beat in self.beats if beat not in concerned]
        waits = next((f" in {beat.exchange}" for beat in others if beat.exchange), "")
        return (
            told
            + (f"; so do {plural(more, 'other rank')}" if more > 0 else "")
            + (f"; the others wait{waits}" if others else "")
        )

    def _of_one(self, beat: Beat) -> str:
        sender, silent = beat.sender, self.silent.get(beat.sender.rank)
        if silent is not None:
            last = f"its last sign was that it {beat.words}"
            return f"{sender} has not answered for {silent:.0f} seconds: it was stopped, or its node was ({last})"
        where = f", in {beat.place}" if beat.place else ""
        waits = f", where it waits in {beat.exchange}" if beat.exchange else ""
        return f"{sender} {beat.words} for {self.seconds:.0f} seconds{where}{waits}"

    @property
    def stacks(self) -> str:
        """Of every rank, those concerned first."""
        concerned = self.concerned
        order = sorted(self.beats, key=lambda beat: beat not in concerned)
        return "\n".join(
            f"Rank {beat.sender.rank} {beat.words}.\n{beat.stacks or 'It told no stacks.'}" for beat in order
        )


@dataclass
class _Rank:
    beat: Beat
    heard: float
    moved: float


class Hangs:
    """Hears beats, and says when nothing moves. The times are seconds, of any clock that never goes back."""

    def __init__(self, seconds: float | None = None, beat_seconds: float = BEAT_SECONDS) -> None:
        self._seconds, self._silent_after = seconds, SILENT_BEATS * beat_seconds
        self._ranks: dict[int, _Rank] = {}
        self._last: float | None = None
        self._lost = 0.0
        """Time in which nobody looked."""

    def judge(self, beats: Iterable[Beat], now: float) -> Hang | None:
        """After the last beat of each rank was heard: whether nothing moves any more."""
        now = self._watched(now)
        for beat in beats:
            known = self._ranks.get(beat.sender.rank)
            if known is None:
                self._ranks[beat.sender.rank] = _Rank(beat, now, now)
            elif beat.number != known.beat.number:
                moved = now if beat.changes != known.beat.changes else known.moved
                self._ranks[beat.sender.rank] = _Rank(beat, now, moved)
        going = [rank for rank in self._ranks.values() if rank.beat.doing != ENDED]
        if not going:
            return None
        still = now - max(rank.moved for rank in going)
        silent = {rank.beat.sender.rank: now - rank.heard for rank in going if now - rank.heard > self._silent_after}
        # What a rank that does not answer did last may have been over long ago.
        asked = [rank.beat for rank in going if rank.beat.sender.rank not in silent] or [rank.beat for rank in going]
        too_long = still > max(allowed(beat, self._seconds) for beat in asked)
        too_silent = min(still, max(silent.values(), default=0.0)) > (self._seconds or _SILENT_SECONDS)
        if not (too_long or too_silent):
            return None
        return Hang(tuple(rank.beat for rank in sorted(going, key=_number)), silent, still)

    def _watched(self, now: float) -> float:
        if self._last is not None:
            self._lost += max(0.0, now - self._last - _MOST_BETWEEN)
        self._last = now
        return now - self._lost


def allowed(beat: Beat, seconds: float | None = None) -> float:
    """How long the rank may do what it does; `seconds` stands for what would follow from how long it took of late."""
    if beat.durations is None:
        return max(beat.doing.seconds, seconds or 0.0)
    if seconds is not None:
        return seconds
    usual, longest = beat.durations
    return max(LEAST_SECONDS, min(_MOST_OF_STEPS, _USUAL * usual), _LONGEST * longest)


def _number(rank: _Rank) -> int:
    return rank.beat.sender.rank


def all_pids(beats: Sequence[Beat]) -> dict[str, list[int]]:
    """The processes of the ranks, by the node's name of Ray."""
    found: dict[str, list[int]] = {}
    for beat in beats:
        found.setdefault(beat.sender.node_id, []).append(beat.sender.pid)
    return found
