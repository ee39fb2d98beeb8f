"""From the records of the training loop to the progress that people and the status see."""

from collections import deque
from collections.abc import Iterable

from kubetune_api.status import Progress, six_digits
from kubetune_trainer.events import Listener
from kubetune_trainer.records import EvaluationRecord, StepRecord

_WINDOW = 50
"""Steps over which the speed is averaged."""


class ProgressTeller:
    """Tells a listener how far the training is."""

    def __init__(self, total_steps: int, listener: Listener) -> None:
        self._total_steps, self._listener = total_steps, listener
        self._recent: deque[StepRecord] = deque(maxlen=_WINDOW)

    def __call__(self, records: Iterable[StepRecord | EvaluationRecord]) -> None:
        """Takes the next records, in order; the listener hears of the last step only."""
        before = self._recent[-1] if self._recent else None
        for record in records:
            if isinstance(record, StepRecord):
                self._recent.append(record)
            else:
                self._listener.evaluated(record)
        if self._recent and self._recent[-1] is not before:
            self._listener.progress(progress_of(self._recent, self._total_steps))


def progress_of(recent: Iterable[StepRecord], total_steps: int) -> Progress:
    """The progress after the last of the `recent` steps, over which the speed is averaged."""
    steps = list(recent)
    last, seconds = steps[-1], sum(step.seconds for step in steps)
    return Progress(
        step=last.step,
        total_steps=total_steps,
        epoch=last.epoch,
        loss=six_digits(last.loss),
        learning_rate=six_digits(last.learning_rate),
        tokens_per_second=six_digits(sum(step.tokens for step in steps) / max(seconds, 1e-9)),
        seconds_left=(total_steps - last.step) * seconds / len(steps),
    )
