"""How often the ranks of a training ask each other about its checkpoints: about once a second.

An exchange before every step would keep a GPU waiting for the one before. The number of steps between two exchanges is
what rank 0 has measured, which travels with the exchange itself, so that it is the same on every rank.
"""

from collections.abc import Callable

_SECONDS = 1.0
"""Between two exchanges."""
_MOST = 100
"""Steps between two exchanges: the next ones may take longer than those that were measured."""
_FEWEST = 20
"""Steps that are measured: the first ones are no measure of the others."""


class Pace:
    """Of one rank. The first steps have an exchange each."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._since, self._steps = now, now(), 0
        """What is measured: the steps since a time."""
        self._between, self._left, self._at_most = 1, 1, 1

    def comes(self) -> bool:
        """Whether the ranks ask each other behind this step. Called once for each."""
        self._steps, self._left = self._steps + 1, self._left - 1
        return self._left <= 0

    def measured(self) -> int:
        """The steps between two exchanges, as this rank sees it."""
        seconds = self._now() - self._since
        if seconds < _SECONDS or self._steps < _FEWEST:
            return self._between
        steps, self._since, self._steps = self._steps, self._now(), 0
        return min(max(1, int(steps * _SECONDS / seconds)), _MOST)

    def take(self, between: int) -> None:
        """What rank 0 has measured. Right behind a `hurry` the exchanges come closer together."""
        self._between, self._left = between, min(between, self._at_most)
        self._at_most = min(2 * self._at_most, _MOST)

    def hurry(self) -> None:
        """Something has begun that may be done soon: the next exchange is behind the next step."""
        self._left = self._at_most = 1
