"""What an experienced reader would notice first in a run, in sentences with their numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from kubetune_trainer.records import EvaluationRecord, RunRecord, SplitReport
from kubetune_trainer.report import confusion, text

FEW_TEST_ROWS = 200
"""Below this the 95 % interval of an accuracy is more than a tenth wide."""
MANY_TRUNCATED = 0.05
RARE_LABEL_ROWS = 20
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


def split_of(record: RunRecord, name: str) -> SplitReport | None:
    """The split of that name, if the run has it."""
    return next((split for split in record.data.splits if split.name == name), None)


def headline(record: RunRecord) -> EvaluationRecord | None:
    """The evaluation that the run is judged by: the last one of the test split, or else of the validation split."""
    for split in ("test", "validation"):
        for evaluation in reversed(record.evaluations):
            if evaluation.split == split:
                return evaluation
    return None


def before_training(record: RunRecord, judged: EvaluationRecord) -> EvaluationRecord | None:
    """The evaluation of the same split before the first step, if there was one."""
    return next((found for found in record.evaluations if found.split == judged.split and found.step == 0), None)


def baseline_accuracy(record: RunRecord, split_name: str) -> tuple[str, float] | None:
    """The label most frequent in training, and the accuracy in the split of always answering it."""
    train, judged = split_of(record, "train"), split_of(record, split_name)
    if train is None or judged is None or not train.label_rows or not judged.label_rows:
        return None
    label = max(train.label_rows, key=lambda item: item[1])[0]
    total = sum(rows for _, rows in judged.label_rows)
    return (label, dict(judged.label_rows).get(label, 0) / total) if total else None


def findings(record: RunRecord) -> list[str]:
    """What is worth knowing, the most serious first."""
    return [
        *_of_numbers(record),
        *_of_overfitting(record),
        *_of_baseline(record),
        *_of_labels(record),
        *_of_rows(record),
    ]


def _of_numbers(record: RunRecord) -> Iterator[str]:
    broken = [step.step for step in record.steps if not math.isfinite(step.loss)]
    if broken:
        yield (
            f"The loss was not a finite number at {text.plural(len(broken), 'step')}, first at step {broken[0]:,}."
            " A lower training.learningRate or FP32 precision is the usual remedy."
        )


def _of_overfitting(record: RunRecord) -> Iterator[str]:
    losses = [
        (found.metrics["loss"], found.epoch)
        for found in record.evaluations
        if found.split == "validation" and math.isfinite(found.metrics.get("loss", math.nan))
    ]
    if len(losses) < 2:
        return
    (lowest, epoch), (last, end) = min(losses), losses[-1]
    if last > lowest * 1.02 and epoch < end:
        yield (
            f"The validation loss was lowest at epoch {epoch:.3g} ({text.number(lowest)}) and rose to"
            f" {text.number(last)} by epoch {end:.3g}: the model began to overfit. Fewer epochs may do better."
        )


def _of_baseline(record: RunRecord) -> Iterator[str]:
    judged = headline(record)
    baseline = baseline_accuracy(record, judged.split) if judged else None
    if judged is None or baseline is None:
        return
    label, reached = baseline
    accuracy = judged.metrics.get("accuracy", math.nan)
    if accuracy <= reached:
        yield (
            f"Always answering {_listed([label])} would reach {text.percent(reached)} on the {judged.split} split;"
            f" the model's {text.percent(accuracy)} is no better."
        )


def _of_labels(record: RunRecord) -> Iterator[str]:
    train, judged = split_of(record, "train"), headline(record)
    rare = [label for label, rows in train.label_rows if rows < RARE_LABEL_ROWS] if train else []
    if rare:
        yield f"{_named(rare)} fewer than {RARE_LABEL_ROWS} rows to learn from: {_listed(rare)}."
    silent = confusion.never_predicted(record.data.labels, judged) if judged and judged.confusion else ()
    if silent and judged:
        yield f"The model never answered {_listed(list(silent))} on the {judged.split} split, though it has such rows."


def _of_rows(record: RunRecord) -> Iterator[str]:
    for split in record.data.splits:
        if split.rows and split.truncated / split.rows > MANY_TRUNCATED:
            yield (
                f"{text.percent(split.truncated / split.rows)} of the rows of {split.name} were longer than"
                f" {record.job.spec.max_length} tokens or the model's own limit, and were cut. A higher"
                " task.maxLength keeps more, if the model allows it."
            )
            break
    test = split_of(record, "test")
    if test is not None and 0 < test.rows < FEW_TEST_ROWS:
        yield f"The test split has only {text.plural(test.rows, 'row')}: its metrics would differ on other rows."
    if test is None:
        yield "The run had no test split: the metrics come from rows that also guided the choice of settings."


def _named(labels: list[str]) -> str:
    return "One label has" if len(labels) == 1 else f"{len(labels):,} labels have"


def _listed(labels: list[str], limit: int = 5) -> str:
    shown = ", ".join(f"“{text.elide(text.printable(label), 24)}”" for label in labels[:limit])
    return shown if len(labels) <= limit else f"{shown} and {len(labels) - limit:,} more"
