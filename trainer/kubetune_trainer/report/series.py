"""Curves small enough to draw: a run of 100,000 steps becomes a line of a thousand points that keeps every spike."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BUCKETS = 400
"""Each gives the lowest and the highest of its points: 800 points on a plot some 500 pixels wide."""
GREATEST_DRAWN = 1e30
"""An axis that reached further would overflow, and show nothing of the rest."""


@dataclass(frozen=True)
class Line:
    """Points in the order of `x`; a NaN in `y` is a gap."""

    x: Floats
    y: Floats

    @property
    def drawn(self) -> Floats:
        """The values that are not gaps."""
        return self.y[np.isfinite(self.y)]

    def downsampled(self, buckets: int = BUCKETS) -> "Line":
        """At most `2 * buckets` points: the lowest and the highest of each bucket, in their order."""
        if len(self.x) <= 2 * buckets:
            return self
        bounds = np.linspace(0, len(self.x), buckets + 1).astype(int)
        chosen = [index for start, end in pairwise(bounds) for index in self._extremes(start, end)]
        return Line(self.x[chosen], self.y[chosen])

    def _extremes(self, start: int, end: int) -> list[int]:
        part = self.y[start:end]
        if np.isnan(part).all():
            return [start]
        return sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))})

    def smoothed(self, window: int) -> "Line":
        """The mean of the `window` points around each, as far as there are any; gaps count as nothing."""
        kernel = np.ones(min(window, len(self.y)))
        present = np.isfinite(self.y)
        # A convolution rather than a difference of running sums: one value of 1e29 would leave nothing of the others.
        total = np.convolve(np.where(present, self.y, 0.0), kernel, mode="same")
        weight = np.convolve(present.astype(float), kernel, mode="same")
        return Line(self.x, np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0.5))


def line(x: list[float], y: list[float]) -> Line:
    """A line through the points, with a gap where a value is not finite or cannot be drawn."""
    values = np.asarray(y, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        drawable = np.abs(values) < GREATEST_DRAWN
    return Line(np.asarray(x, dtype=np.float64), np.where(drawable, values, np.nan))


def smoothing_window(points: int) -> int:
    """An odd number of points, about a thirtieth of the run; 1 is no smoothing."""
    return 1 if points < 20 else min(501, max(5, points // 30) | 1)
