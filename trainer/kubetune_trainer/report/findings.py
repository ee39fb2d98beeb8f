"""What an experienced reader would notice first in a run, in sentences with their numbers."""

import math
from collections.abc import Iterator

from kubetune_api import text
from kubetune_api.metrics import LOSS, metric_row, metric_text
from kubetune_api.numbers import number
from kubetune_trainer.records import EvaluationRecord, RunRecord
from kubetune_trainer.tasks import task_of

FEW_TEST_ROWS = 200
"""Below this the 95 % interval of an accuracy is more than a tenth wide."""
MANY_TRUNCATED = 0.05


def headline(record: RunRecord) -> EvaluationRecord | None:
    """The evaluation of the published weights that the run is judged by: of the test split, or else of validation."""
    for split in ("test", "validation"):
        for evaluation in reversed(record.evaluations):
            if evaluation.split == split and evaluation.judges(record.end.kept_step):
                return evaluation
    return None


def before_training(record: RunRecord, judged: EvaluationRecord) -> EvaluationRecord | None:
    """The evaluation of the same split before the first step, if there was one."""
    return next((found for found in record.evaluations if found.split == judged.split and found.step == 0), None)


def best_on_validation(record: RunRecord, name: str) -> EvaluationRecord | None:
    """The evaluation in which a metric was the best, the first of several; None where there is no choice."""
    judged = [
        found
        for found in record.evaluations
        if found.split == "validation" and found.step and math.isfinite(found.metrics.get(name, math.nan))
    ]
    if len(judged) < 2:
        return None
    sign = 1 if metric_row(name).best == "Max" else -1
    return max(judged, key=lambda found: (sign * found.metrics[name], -found.step))


def findings(record: RunRecord) -> list[str]:
    """What is worth knowing, the most serious first."""
    decided = record.end.sentence(record.job.spec.primary_metric)
    return [
        *_of_numbers(record),
        *([f"{_capitalised(decided)}."] if decided else []),
        *_of_choosing(record),
        *_of_overfitting(record),
        *map(_capitalised, (*record.data.notes, *record.notes)),
        *_of_measuring(record),
        *_of_answers(record),
        *_of_learning(record),
        *_of_rows(record),
    ]


def doubts(record: RunRecord) -> list[str]:
    """Those of them that speak against the model itself: whoever waits for a run must not overlook them."""
    told = (_of_numbers, _of_answers, _of_learning, _of_choosing, _of_overfitting)
    return [sentence for of in told for sentence in of(record)]


def _capitalised(note: str) -> str:
    """A note may begin with a place or a field, which stays as it is."""
    return note[:1].upper() + note[1:] if note.partition(" ")[0].isalpha() else note


def _of_numbers(record: RunRecord) -> Iterator[str]:
    broken = [step.step for step in record.steps if not math.isfinite(step.loss)]
    if broken:
        yield (
            f"The loss was not a finite number at {text.plural(len(broken), 'step')}, first at step {broken[0]:,}."
            " A lower training.learningRate or FP32 precision is the usual remedy."
        )


def _of_answers(record: RunRecord) -> Iterator[str]:
    return task_of(record.job.spec).findings(headline(record), record.data)


def _of_learning(record: RunRecord) -> Iterator[str]:
    judged = headline(record)
    before = before_training(record, judged) if judged else None
    if judged is None or before is None or judged.step == 0:
        return
    first, last = before.metrics.get(LOSS, math.nan), judged.metrics.get(LOSS, math.nan)
    if last >= first:
        yield (
            f"The loss on the {judged.split} split was {number(first)} before the training and is {number(last)} after"
            " it: what the model has learned does not help there. A lower training.learningRate or fewer steps may."
        )


def _of_choosing(record: RunRecord) -> Iterator[str]:
    """A metric that is the same at every evaluation chooses nothing."""
    training, metric = record.job.spec.training, record.job.spec.primary_metric or ""
    if training.early_stopping is None and training.kept != "Best":
        return
    name = metric.rpartition("/")[2]
    values = [found.metrics.get(name) for found in record.evaluations if found.split == "validation" and found.step]
    if len(values) > 1 and len(set(values)) == 1 and values[0] is not None:
        yield (
            f"{metric} was {metric_text(name, values[0])} at all {len(values)} evaluations, so what it decided was"
            " decided by nothing: set evaluation.primaryMetric to one that moves with every step, such as"
            " validation/loss."
        )


def _of_overfitting(record: RunRecord) -> Iterator[str]:
    losses = [
        (found.metrics[LOSS], found.epoch)
        for found in record.evaluations
        if found.split == "validation" and math.isfinite(found.metrics.get(LOSS, math.nan))
    ]
    if len(losses) < 2 or record.end.kept_step < record.end.step:
        return
    (lowest, epoch), (last, end) = min(losses), losses[-1]
    if last > lowest * 1.02 and epoch < end:
        yield (
            f"The validation loss was lowest at epoch {epoch:.3g} ({number(lowest)}) and rose to"
            f" {number(last)} by epoch {end:.3g}: the model began to overfit. Fewer epochs may do"
            " better; training.keep: Best publishes the best weights."
        )


def _of_measuring(record: RunRecord) -> Iterator[str]:
    for found in record.evaluations:
        yield from (f"{note}." for note in found.notes)


def _of_rows(record: RunRecord) -> Iterator[str]:
    for split in record.data.splits:
        if split.rows and split.truncated / split.rows > MANY_TRUNCATED:
            yield (
                f"{text.percent(split.truncated / split.rows)} of the rows of {split.name} were longer than"
                f" {record.job.spec.max_length} tokens or the model's own limit, and were cut. A higher"
                " task.maxLength keeps more, if the model allows it."
            )
            break
    test = record.data.split("test")
    if test is not None and 0 < test.rows < FEW_TEST_ROWS:
        yield f"The test split has only {text.plural(test.rows, 'row')}: its metrics would differ on other rows."
    if test is None:
        yield "The run had no test split: the metrics come from rows that also guided the choice of settings."
