"""When the next checkpoint is due: as the job says, or as often as one is worth what it costs.

Where the job says nothing, the interval is the square root of twice the cost of a checkpoint times the mean time
between two interruptions: J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17
(1974); J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22 (2006).
"""

from collections.abc import Callable, Sequence
from math import inf, sqrt
from statistics import fmean

from kubetune_api.job import Checkpoints as Settings
from kubetune_trainer.records import StepRecord

BETWEEN_INTERRUPTIONS = 6 * 3600.0
"""Seconds, where nobody has counted them."""
SHORTEST, LONGEST = 60.0, 3600.0
"""Seconds of an interval that nobody has set; the first one is the shortest, as no cost is known yet."""
RETRY, LONGEST_RETRY = 15.0, 600.0
"""Seconds to the next try after one that failed; twice as many after each further one."""
_QUIET_STEPS = 50
"""Those that the steps beside an upload are compared with."""


def best_interval(cost: float, between: float) -> float:
    """For a checkpoint that costs the training so many seconds, in seconds."""
    return min(max(sqrt(2 * cost * between), SHORTEST), LONGEST)


def slow_down(steps: Sequence[StepRecord], since: int, saved: int) -> float:
    """The seconds that the steps behind the saved one took longer than those between `since` and it."""
    beside = [step.seconds for step in steps if step.step > saved]
    quiet = [step.seconds for step in steps if since < step.step <= saved][-_QUIET_STEPS:]
    return max(0.0, sum(beside) - len(beside) * fmean(quiet)) if quiet else 0.0


class Interval:
    """Of one training. Only what the first rank says of the time counts; the rest is the same on every rank."""

    def __init__(self, settings: Settings, between: float | None, now: Callable[[], float]) -> None:
        self._settings, self._now = settings, now
        self._between = between or BETWEEN_INTERRUPTIONS
        self._chosen, self._begun, self._due = SHORTEST, now(), inf
        self._failures, self._saved = 0, 1
        self._quiet_since = 1
        """The last step that an upload may have slowed down; the first of all is slow by itself."""
        self._due = self._begun + (self.seconds or inf)

    @property
    def seconds(self) -> float | None:
        """From the beginning of one to that of the next; None where steps alone say."""
        if self._settings.every_seconds is not None:
            return float(self._settings.every_seconds)
        return self._chosen if self._settings.every_steps is None else None

    def ends_with(self, step: int) -> bool:
        """Whether one is due behind that step, by its number."""
        every = self._settings.every_steps
        return every is not None and step % every == 0

    @property
    def is_over(self) -> bool:
        """Whether one is due by the time."""
        return self._now() >= self._due

    def begun(self, step: int) -> None:
        """A checkpoint of that step is under way."""
        self._saved, self._begun = step, self._now()
        self._due = self._begun + (self.seconds or inf)

    def failed(self, step: int) -> None:
        """It was not saved, as is known behind that step: the next is tried before a whole interval has passed."""
        self._quiet_since = step
        self._due = min(self._due, self._now() + min(RETRY * 2.0**self._failures, LONGEST_RETRY))
        # Counted no further than that: a store may fail for days.
        self._failures = min(self._failures + 1, 30)

    def committed(self, stalled: float, steps: Sequence[StepRecord]) -> None:
        """It was saved, and the training stood still so long for it; what the interval is from now on follows."""
        cost = stalled + slow_down(steps, self._quiet_since, self._saved)
        self._chosen, self._failures = best_interval(cost, self._between), 0
        self._quiet_since = max(self._saved, steps[-1].step if steps else 0)
        self._due = self._begun + (self.seconds or inf)
