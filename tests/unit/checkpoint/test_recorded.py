"""Each checkpoint writes what was recorded since the one before, and names the files of the others."""

from kubetune_trainer.checkpoint.history import History, joined
from kubetune_trainer.checkpoint.recorded import MOST_FILES, Recorded
from kubetune_trainer.records import EvaluationRecord, StepRecord, StoredFile


def step(number: int) -> StepRecord:
    return StepRecord(number, number / 10, 0.5, 1e-3, 1.0, 4, 0.1)


def file(number: int) -> StoredFile:
    return StoredFile(f"executions/1/checkpoints/step-{number:08}/records.json", 1, "0" * 64)


def steps(history: History) -> list[int]:
    return [record.step for record in history.steps]


def test_a_checkpoint_writes_what_came_since_the_one_before() -> None:
    records: list[object] = [step(1), step(2)]
    recorded = Recorded(records)
    first = recorded.take()
    assert recorded.files_with(file(2)) == (file(2),)
    recorded.committed(file(2))
    judged = EvaluationRecord("validation", 3, 0.3, {"loss": 0.5})
    records += [step(3), judged, "something that is not kept"]
    second = recorded.take()
    assert (steps(second), second.evaluations) == ([3], (judged,))
    assert recorded.files_with(file(3)) == (file(2), file(3))
    assert joined([first, second, History((), (), {"watch": 1})]) == History(
        (step(1), step(2), step(3)), (judged,), {"watch": 1}
    )


def test_what_was_not_committed_is_written_again() -> None:
    records = [step(1)]
    recorded = Recorded(records)
    recorded.take()
    records.append(step(2))
    assert steps(recorded.take()) == [1, 2]
    recorded.committed(file(2))
    records.append(step(3))
    recorded.take()
    records.append(step(4))
    assert steps(recorded.take()) == [3, 4]
    assert recorded.files_with(file(4)) == (file(2), file(4))


def test_what_is_recorded_after_it_was_taken_belongs_to_the_next() -> None:
    records = [step(1)]
    recorded = Recorded(records)
    recorded.take()
    records.append(step(2))
    recorded.committed(file(1))
    assert steps(recorded.take()) == [2]


def test_many_files_become_one_again_and_stay_named_until_then() -> None:
    records = list[StepRecord]()
    recorded = Recorded(records)
    for number in range(1, MOST_FILES + 1):
        records.append(step(number))
        assert steps(recorded.take()) == [number]
        recorded.committed(file(number))
    records.append(step(MOST_FILES + 1))
    assert steps(recorded.take()) == list(range(1, MOST_FILES + 2))
    assert recorded.files_with(file(MOST_FILES + 1)) == (file(MOST_FILES + 1),)
