"""The queue of what is to be looked at: each key once, never in two hands, and again if it was added meanwhile.

Groups of keys, as those of a namespace, are served in turn: whoever has ten thousand keeps nobody waiting behind them.
"""

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from itertools import chain
from typing import Generic, TypeVar

BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 60.0

Key = TypeVar("Key", bound=Hashable)
CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class WorkQueue(Generic[Key]):
    """Keys that wait, keys that are worked on, and keys that wait for their time."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        call_later: CallLater | None = None,
        *,
        group: Callable[[Key], Hashable] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._call_later = call_later or (lambda delay, call: asyncio.get_running_loop().call_later(delay, call))
        self._group = group
        self._waiting: OrderedDict[Hashable, OrderedDict[Key, float]] = OrderedDict()
        """Each key and since when, by its group; groups and keys in the order in which they are handed out."""
        self._in_hand: set[Key] = set()
        self._again: dict[Key, float] = {}
        """The keys that were added while they were worked on, and when."""
        self._later: dict[Key, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[Key, int] = {}
        self._takers: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """How many keys wait; those that are worked on count if they were added again."""
        return sum(map(len, self._waiting.values())) + len(self._again)

    @property
    def oldest_age(self) -> float:
        """How long the key that waits longest has been waiting, in seconds."""
        since = [*chain.from_iterable(keys.values() for keys in self._waiting.values()), *self._again.values()]
        return self._clock() - min(since) if since else 0.0

    def add(self, key: Key) -> None:
        """The key is to be looked at."""
        if key in self._in_hand:
            self._again.setdefault(key, self._clock())
        elif key not in self._waiting.get(self._group(key), ()):
            self._wait(key, self._clock())

    def add_all(self, keys: Iterable[Key]) -> None:
        """Each of the keys is to be looked at."""
        for key in keys:
            self.add(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """The key is to be looked at in so many seconds, or earlier if that was said before."""
        due = self._clock() + seconds
        earlier = self._later.get(key)
        if earlier:
            if earlier[0] <= due:
                return
            earlier[1].cancel()
        self._later[key] = due, self._call_later(max(seconds, 0.0), lambda: self._arrive(key))

    async def get(self) -> Key:
        """The next key, as soon as there is one; it is in hand until `done`."""
        while not self._waiting:
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                # A key that this one was woken for is another's.
                if taker.done() and not taker.cancelled():
                    self._wake_one()
                raise
        group, keys = self._waiting.popitem(last=False)
        key, _ = keys.popitem(last=False)
        if keys:
            self._waiting[group] = keys  # behind the other groups
        self._in_hand.add(key)
        return key

    def done(self, key: Key) -> None:
        """The work on the key is over."""
        self._in_hand.discard(key)
        since = self._again.pop(key, None)
        if since is not None:
            self._wait(key, since)

    def failures(self, key: Key) -> float:
        """One more failure of the key: how long to leave it alone, in seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        # Not 2**count alone: a key may fail for weeks.
        longest = min(BACKOFF_SECONDS * 2.0 ** min(count, 20), LONGEST_BACKOFF_SECONDS)
        return longest * (0.5 + self._chance() / 2)

    def failed(self, key: Key) -> int:
        """How often the key has failed in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """The key's failures are over."""
        self._failures.pop(key, None)

    def _wait(self, key: Key, since: float) -> None:
        self._waiting.setdefault(self._group(key), OrderedDict())[key] = since
        self._wake_one()

    def _arrive(self, key: Key) -> None:
        del self._later[key]
        self.add(key)

    def _wake_one(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return
