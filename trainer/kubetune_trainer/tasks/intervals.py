"""How sure a share is that was seen in some rows."""

import math
from dataclasses import dataclass

_Z = 1.959964  # The normal distribution's 97.5 % quantile.


@dataclass(frozen=True)
class Interval:
    """Where a share lies with 95 % confidence."""

    low: float
    high: float


def wilson(successes: float, rows: int) -> Interval | None:
    """The Wilson score interval of a share that was seen in `rows` rows; None of no rows."""
    if rows <= 0 or not math.isfinite(successes):
        return None
    share = successes / rows
    middle = share + _Z**2 / (2 * rows)
    spread = _Z * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    scale = 1 + _Z**2 / rows
    return Interval(max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))
