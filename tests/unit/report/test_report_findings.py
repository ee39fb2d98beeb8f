"""What the report says of its own accord."""

import math
from dataclasses import replace
from typing import Any

import pytest

from kubetune_trainer.records import DataReport, EvaluationRecord, RunRecord, SplitReport, TrainingEnd
from kubetune_trainer.report.findings import best_on_validation, doubts, findings, headline
from kubetune_trainer.tasks.classification import baseline_accuracy
from support.run_records import causal, classification, data, evaluation, job, run, steps

LABELS = ("fresh", "rotten")


def judged(confusion: tuple[tuple[int, ...], ...]) -> RunRecord:
    rows = [sum(line) for line in confusion]
    return run(
        job(),
        data=data(LABELS, rows),
        evaluations=(evaluation(LABELS, "test", 9, 1.0, 0.3, confusion),),
        steps=steps(9),
    )


def validated(*losses: float) -> RunRecord:
    found = [EvaluationRecord("validation", 10 * epoch, epoch, {"loss": loss}) for epoch, loss in enumerate(losses, 1)]
    return run(job(), evaluations=tuple(found))


def said(record: RunRecord, words: str) -> list[str]:
    return [finding for finding in findings(record) if words in finding]


def test_a_run_without_an_error_is_told_in_silence() -> None:
    assert findings(judged(((300, 20), (25, 290)))) == []


def test_losses_that_are_no_numbers_are_counted() -> None:
    made = tuple(replace(step, loss=math.nan if step.step in (3, 7) else 0.5) for step in steps(9))
    assert said(replace(judged(((300, 20), (25, 290))), steps=made), "at 2 steps, first at step 3")


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        pytest.param((0.5, 0.4, 0.5), True, id="the loss rose again"),
        pytest.param((0.5, 0.4, 0.401), False, id="the loss rose by a hair"),
        pytest.param((0.5, 0.4, 0.3), False, id="the loss only fell"),
        pytest.param((0.5,), False, id="there is but one epoch"),
        pytest.param((0.4, math.nan, 0.6), True, id="a loss that is no number is passed over"),
    ],
)
def test_overfitting_is_told(losses: tuple[float, ...], told: bool) -> None:
    assert bool(said(validated(*losses), "overfit")) is told


def test_a_run_that_stopped_early_says_so_and_is_judged_by_what_it_publishes() -> None:
    by = job(evaluation={"primaryMetric": "validation/loss"})
    record = replace(validated(0.5, 0.4, 0.6), job=by, end=TrainingEnd(30, 50, kept_step=20))
    told = (
        "The training stopped early, at step 30 of 50: validation/loss got no better; published are the weights of step"
        " 20, the best by validation/loss."
    )
    assert said(record, told)
    assert not said(record, "overfit")
    judged = headline(record)
    assert judged is not None
    assert (judged.step, record.final_metrics()) == (20, {"validation/loss": 0.4})


@pytest.mark.parametrize(
    ("accuracies", "training", "told"),
    [
        pytest.param((0.5, 0.5, 0.5), {"earlyStopping": {"patience": 2}}, True, id="it stopped the training"),
        pytest.param((0.5, 0.5, 0.5), {"keep": "Best"}, True, id="it chose the weights"),
        pytest.param((0.5, 0.5, 0.5), {}, False, id="it decided nothing"),
        pytest.param((0.5, 0.5, 0.6), {"keep": "Best"}, False, id="it moved"),
        pytest.param((0.5,), {"keep": "Best"}, False, id="there is but one evaluation"),
    ],
)
def test_a_metric_that_never_moved_is_told_by_name(
    accuracies: tuple[float, ...], training: dict[str, Any], told: bool
) -> None:
    found = [
        EvaluationRecord("validation", 10 * epoch, epoch, {"loss": 1 / epoch, "accuracy": value})
        for epoch, value in enumerate(accuracies, 1)
    ]
    edited = job(training=training, evaluation={"primaryMetric": "validation/accuracy"})
    record = run(edited, evaluations=tuple(found))
    assert bool(said(record, "validation/accuracy was 0.5000 at all 3 evaluations, so")) is told
    assert said(record, "validation/accuracy was") == [one for one in doubts(record) if "was 0.5" in one]


@pytest.mark.parametrize(("after", "told"), [(2.1, True), (2.0, True), (1.9, False)])
def test_a_training_that_did_not_help_is_told(after: float, told: bool) -> None:
    found = (EvaluationRecord("test", 0, 0.0, {"loss": 2.0}), EvaluationRecord("test", 9, 1.0, {"loss": after}))
    record = run(job(), evaluations=found)
    assert bool(said(record, "The loss on the test split was 2.000 before the training")) is told
    assert len([one for one in doubts(record) if "before the training" in one]) == told


def test_what_speaks_against_the_model_is_told_apart_from_the_rest() -> None:
    guessing = judged(((300, 0), (200, 0)))
    (first, *_) = doubts(guessing)
    assert "the model's 60.0 % is no better" in first
    assert doubts(judged(((300, 20), (25, 290)))) == []
    assert not [one for one in doubts(replace(guessing, notes=("a note",))) if "note" in one]


def test_a_model_no_better_than_a_guess_is_told_with_the_guess() -> None:
    assert said(judged(((300, 0), (200, 0))), "Always predicting “fresh” would reach 60.0 %")


def test_a_label_never_answered_is_told() -> None:
    assert said(judged(((300, 0), (200, 0))), "The model never predicted “rotten” on the test split")


def test_labels_with_few_rows_are_named_and_many_of_them_counted() -> None:
    labels = tuple(f"label {number}" for number in range(9))
    record = run(job(), data=data(labels, [2] * 9))
    assert said(record, "9 labels have fewer than 20 rows to learn from: “label 0”, “label 1”")
    assert said(record, "and 4 more.")


def test_rows_cut_short_are_told_once() -> None:
    splits = tuple(SplitReport(name, 1000, 99_000, 256, 300) for name in ("train", "validation", "test"))
    record = run(job(), data=DataReport((), 3000, (), splits))
    assert len(said(record, "30.0 % of the rows of train were longer than 256 tokens")) == 1


def test_a_small_test_split_and_a_missing_one_are_told() -> None:
    assert said(causal(), "only 80 rows")
    assert said(run(job()), "no test split")


def test_the_test_split_is_the_headline_and_validation_stands_in() -> None:
    record = classification(total=9)
    assert headline(record) is record.evaluations[-1]
    assert headline(replace(record, evaluations=record.evaluations[:-1])) is record.evaluations[-2]
    assert headline(run(job())) is None


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [
        pytest.param((0.5, 0.4, 0.6), 2, id="the lowest loss"),
        pytest.param((0.4, 0.4, math.nan), 1, id="the first of equal ones, and of numbers"),
        pytest.param((0.5,), None, id="one evaluation is no choice"),
    ],
)
def test_the_best_evaluation_is_by_what_is_best_of_the_metric(losses: tuple[float, ...], epoch: int | None) -> None:
    best = best_on_validation(validated(*losses), "loss")
    assert (best and best.epoch) == epoch


def test_the_highest_accuracy_is_the_best() -> None:
    best = best_on_validation(classification(total=9), "accuracy")
    assert best is not None
    assert best.metrics["accuracy"] == max(
        found.metrics["accuracy"] for found in classification(total=9).evaluations if found.split == "validation"
    )


def test_the_baseline_is_the_label_most_frequent_in_training() -> None:
    splits = (
        SplitReport("train", 10, 0, 0, 0, (("fresh", 8), ("rotten", 2))),
        SplitReport("test", 10, 0, 0, 0, (("fresh", 3), ("rotten", 7))),
    )
    record = run(job(), data=DataReport((), 20, (), splits, LABELS))
    assert baseline_accuracy(record.data, "test") == ("fresh", 0.3)
    assert baseline_accuracy(record.data, "validation") is None
