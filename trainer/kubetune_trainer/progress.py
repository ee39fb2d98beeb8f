"""From the records of the training loop to the progress that people and the status see."""

from collections import deque
from collections.abc import Iterable

from kubetune_api.status import LONGEST_OF_ATTEMPT, CheckpointStatus, Progress, six_digits
from kubetune_api.text import elide
from kubetune_trainer.events import Listener
from kubetune_trainer.records import EvaluationRecord, StepRecord, TrainingEnd
from kubetune_trainer.underway import (
    EvaluationStart,
    NotSaved,
    Passing,
    ReferenceProgress,
    Resumption,
    Saved,
    Spiked,
    Writing,
)

_WINDOW = 50
"""Steps over which the speed is averaged."""


class ProgressTeller:
    """Tells a listener how far the training is."""

    def __init__(self, total_steps: int, listener: Listener) -> None:
        self._total_steps, self._listener = total_steps, listener
        self._recent: deque[StepRecord] = deque(maxlen=_WINDOW)
        self._evaluating: EvaluationStart | Writing | None = None
        self._end: TrainingEnd | None = None
        self._told: Progress | None = None
        self._checkpoint = CheckpointStatus()

    def __call__(self, records: Iterable[StepRecord | EvaluationRecord | Resumption | Passing | TrainingEnd]) -> None:
        """Takes the next records, in order; the listener hears of each evaluation, and of the last step only."""
        for record in records:
            self._evaluating = record if isinstance(record, EvaluationStart | Writing) else None
            if isinstance(record, StepRecord):
                self._recent.append(record)
            elif isinstance(record, ReferenceProgress):
                self._listener.stage(record.sentence)
            elif isinstance(record, EvaluationRecord):
                self._listener.evaluated(record)
            elif isinstance(record, Resumption | Saved | NotSaved):
                self._tell_of(record)
            elif isinstance(record, Spiked):
                self._listener.note(record.sentence)
            elif isinstance(record, TrainingEnd):
                self._end = record
        progress = progress_of(self._recent, self._total_steps, self._evaluating, self._end)
        if progress != self._told and (self._recent or self._evaluating):
            self._told = progress
            self._listener.progress(progress)

    def _tell_of(self, record: Resumption | Saved | NotSaved) -> None:
        if isinstance(record, Resumption):
            for sentence in record.sentences:
                self._listener.note(sentence)
        self._checkpoint = checkpoint_after(record, self._checkpoint)
        self._listener.checkpoint(self._checkpoint)
        # Each further one is counted, and not said again.
        if self._checkpoint.failures == 1 and (why := self._checkpoint.message):
            self._listener.note(f"{why.rstrip('.')}; the training goes on, and the next one is tried")


def checkpoint_after(record: Resumption | Saved | NotSaved, known: CheckpointStatus) -> CheckpointStatus:
    """What is known of the checkpoints by that record."""
    match record:
        case Resumption():
            step = record.step or None
            return CheckpointStatus(step=step, resumed_step=step)
        case NotSaved():
            why = elide(f"the checkpoint of step {record.step:,} was not saved: {record.why}", LONGEST_OF_ATTEMPT)
            return known.model_copy(update={"failures": known.failures + 1, "message": why})
        case Saved():
            return CheckpointStatus(
                step=record.step,
                time=record.time,
                size_bytes=record.size_bytes,
                stall_seconds=six_digits(record.stall_seconds),
                upload_seconds=six_digits(record.upload_seconds),
                interval_seconds=None if record.interval_seconds is None else six_digits(record.interval_seconds),
                resumed_step=known.resumed_step,
            )


def progress_of(
    recent: Iterable[StepRecord],
    total_steps: int,
    evaluating: EvaluationStart | Writing | None = None,
    end: TrainingEnd | None = None,
) -> Progress:
    """The progress after the last of the `recent` steps, over which the speed is averaged."""
    steps = list(recent)
    split = evaluating.split if evaluating else None
    writing = (
        {"answers": evaluating.rows, "total_answers": evaluating.of_rows} if isinstance(evaluating, Writing) else {}
    )
    if not steps:
        return Progress(step=0, total_steps=total_steps, epoch=0.0, evaluating=split, **writing)
    last, seconds = steps[-1], sum(step.seconds for step in steps)
    return Progress(
        step=last.step,
        total_steps=total_steps,
        epoch=last.epoch,
        loss=six_digits(last.loss),
        learning_rate=six_digits(last.learning_rate),
        tokens_per_second=six_digits(sum(step.tokens for step in steps) / max(seconds, 1e-9)),
        seconds_left=0.0 if end else (total_steps - last.step) * seconds / len(steps),
        evaluating=split,
        **writing,
        kept_step=end.kept_step if end else None,
    )
