"""How far a run is, from the records of its steps."""

import io
import json

import pytest

from kubetune_api.status import CheckpointStatus
from kubetune_trainer.events import JsonLinesListener, LastProgress
from kubetune_trainer.handoff import Record
from kubetune_trainer.progress import ProgressTeller, progress_of
from kubetune_trainer.records import EvaluationRecord, StepRecord, TrainingEnd
from kubetune_trainer.underway import EvaluationStart, NotSaved, ReferenceProgress, Resumption, Saved, Writing


def step(number: int, seconds: float = 0.5, tokens: int = 100) -> StepRecord:
    return StepRecord(number, number / 10, 1 / number, 1e-3, 1.0, tokens, seconds)


def test_speed_and_time_left_are_those_of_the_recent_steps() -> None:
    progress = progress_of([step(3, seconds=1.0, tokens=50), step(4, seconds=3.0, tokens=150)], total_steps=10)
    assert (progress.step, progress.total_steps, progress.epoch) == (4, 10, 0.4)
    assert (progress.loss, progress.learning_rate) == (0.25, 1e-3)
    assert progress.tokens_per_second == pytest.approx(200 / 4.0)
    assert progress.seconds_left == pytest.approx(6 * 2.0)


def test_the_last_step_leaves_no_time() -> None:
    assert progress_of([step(10)], total_steps=10).seconds_left == 0.0


def test_steps_too_fast_for_the_clock_are_no_division_by_zero() -> None:
    assert progress_of([step(1, seconds=0.0)], total_steps=2).seconds_left == 0.0


def told(
    *posted: list[Record],
) -> list[dict[str, object]]:
    stream = io.StringIO()
    tell = ProgressTeller(20, JsonLinesListener(stream))
    for records in posted:
        tell(records)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_listener_hears_of_every_evaluation_and_of_the_last_step_alone() -> None:
    judged = EvaluationRecord("validation", 2, 0.2, {"loss": 0.5})
    events = told([step(1), step(2), judged], [step(3)])
    assert [event["event"] for event in events] == ["evaluated", "progress", "progress"]
    assert [event["progress"]["step"] for event in events[1:]] == [2, 3]  # type: ignore[index]


def test_a_training_that_goes_on_says_from_where_and_what_could_not_be_used() -> None:
    events = told([Resumption(8, ("the checkpoint of step 12 cannot be used: it was changed",), (step(1), step(8)))])
    assert [event["text"] for event in events if event["event"] == "note"] == [
        "the checkpoint of step 12 cannot be used: it was changed",
        "the training goes on behind step 8",
    ]
    note, known = told([Resumption(0)])
    assert note["text"] == "the training begins anew: no checkpoint can be used"
    assert known["checkpoint"] == {"failures": 0}


SAVED = Saved(8, "2026-01-01T00:00:00Z", 120, 0.25, 2.5)


def test_checkpoints_are_told_with_what_they_cost() -> None:
    events = told([Resumption(4)], [SAVED])
    assert [event["checkpoint"] for event in events if event["event"] == "checkpoint"] == [
        {"step": 4, "resumedStep": 4, "failures": 0},
        {"step": 8, "resumedStep": 4, "time": "2026-01-01T00:00:00Z", "sizeBytes": 120, "stallSeconds": 0.25,
         "uploadSeconds": 2.5, "failures": 0},
    ]  # fmt: skip


def test_saves_that_failed_are_counted_and_noted_once_until_one_is_committed() -> None:
    failed = NotSaved(12, "the store does not answer.")
    events = told([SAVED, failed, failed], [SAVED, failed])
    known = [event["checkpoint"] for event in events if event["event"] == "checkpoint"]
    assert [(one["step"], one["failures"]) for one in known] == [(8, 0), (8, 1), (8, 2), (8, 0), (8, 1)]  # type: ignore[index]
    assert ["message" in one for one in known] == [False, True, True, False, True]  # type: ignore[operator]
    note = (
        "the checkpoint of step 12 was not saved: the store does not answer; the training goes on, and the next one is"
        " tried"
    )
    assert [event["text"] for event in events if event["event"] == "note"] == [note, note]


def test_the_words_of_a_store_are_as_long_as_a_status_takes() -> None:
    (event, _) = told([NotSaved(12, "x" * 5000)])
    assert CheckpointStatus.model_validate(event["checkpoint"]).failures == 1


def test_records_without_a_step_tell_no_progress() -> None:
    judged = EvaluationRecord("test", 2, 0.2, {"loss": 0.5})
    assert [event["event"] for event in told([step(1)], [judged])] == ["progress", "evaluated"]


def test_an_evaluation_is_named_from_its_beginning_to_its_end() -> None:
    """Row N5."""
    begins, judged = EvaluationStart("test", 20), EvaluationRecord("test", 20, 2.0, {"loss": 0.5})
    events = told([step(20)], [begins], [judged])
    assert [event["event"] for event in events] == ["progress", "progress", "evaluated", "progress"]
    states = [event["progress"] for event in events if event["event"] == "progress"]
    assert [state.get("evaluating") for state in states] == [None, "test", None]  # type: ignore[attr-defined]


def test_answers_that_are_written_are_counted() -> None:
    events = told([step(20)], [EvaluationStart("test", 20)], [Writing("test", 20, 40, 200)])
    states = [event["progress"] for event in events if event["event"] == "progress"]
    assert [(state.get("answers"), state.get("totalAnswers")) for state in states[1:]] == [(None, None), (40, 200)]  # type: ignore[attr-defined]
    assert states[-1]["evaluating"] == "test"  # type: ignore[index]


def test_an_evaluation_before_the_first_step_is_named_too() -> None:
    (event,) = told([EvaluationStart("validation", 0)])
    assert event["progress"] == {"step": 0, "totalSteps": 20, "epoch": 0.0, "evaluating": "validation"}


def test_people_are_told_how_far_the_untrained_model_was_asked() -> None:
    stage, progress = told([ReferenceProgress("train", 0, 400, 2000)])
    assert stage == {"event": "stage", "text": "Asking the untrained model about 400 of 2,000 rows of the train split"}
    assert progress["progress"] == {"step": 0, "totalSteps": 20, "epoch": 0.0, "evaluating": "train"}


def test_the_last_progress_is_remembered() -> None:
    listener = LastProgress(JsonLinesListener(io.StringIO()))
    assert listener.last is None
    ProgressTeller(20, listener)([step(7)])
    assert listener.last is not None
    assert listener.last.step == 7


def test_the_end_leaves_no_time_and_names_the_step_that_is_kept() -> None:
    last = told([step(8)], [TrainingEnd(8, 20, kept_step=4)])[-1]["progress"]
    assert isinstance(last, dict)
    assert (last["step"], last["totalSteps"], last["keptStep"], last["secondsLeft"]) == (8, 20, 4, 0.0)
