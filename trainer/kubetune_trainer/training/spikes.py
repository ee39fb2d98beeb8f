"""Whether the loss of a step is far above those before it: pure numbers, the same on every rank."""

from collections import deque
from statistics import median

_WINDOW = 100
"""The steps that say what is usual."""
_FEWEST = 20
"""Before as many, nothing is."""
_SPREAD = 1.4826
"""Of normal values, the standard deviation over the median distance from their median."""
_LEAST_SHARE = 0.05
"""The least spread, as a share of what the loss was in the first steps: near zero each small step would be a spike."""


class Spikes:
    """Takes the losses of steps in order."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._least: float | None = None
        self._quiet = 0
        """For how many further steps nothing is a spike: one is told once."""

    def take(self, loss: float, factor: float) -> float | None:
        """What was usual before, where this loss is more than `factor` spreads above that."""
        usual = self._usual(loss, factor)
        self._recent.append(loss)
        self._quiet = _WINDOW if usual is not None else max(0, self._quiet - 1)
        return usual

    def _usual(self, loss: float, factor: float) -> float | None:
        if len(self._recent) < _FEWEST or self._quiet:
            return None
        usual = median(self._recent)
        if self._least is None:
            self._least = _LEAST_SHARE * abs(usual)
        spread = max(_SPREAD * median(abs(one - usual) for one in self._recent), self._least)
        return usual if loss - usual > factor * spread else None
