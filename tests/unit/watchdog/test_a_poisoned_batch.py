"""A whole run whose loss jumps in one step: the job says what follows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kubetune_api.job import FineTuneJob
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks.base import Losses
from kubetune_trainer.tasks.classification import Classification
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows, write_csv

POISONED, AGAIN = 40, 42
"""The batches, by their numbers over all runs of a test."""


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the labels of one batch are absurd."""
    losses, calls = Classification.losses, iter(range(1, 10_000))

    def of_a_batch(self: Classification, forward: Any, batch: Any, space: Any) -> Losses:
        found = losses(self, forward, batch, space)
        return Losses(found.rows * 100, found.outputs) if next(calls) in (POISONED, AGAIN) else found

    monkeypatch.setattr(Classification, "losses", of_a_batch)


def job(folder: Path, checkpoints: dict[str, int] | None = None, **watchdog: Any) -> FineTuneJob:
    return job_for(
        "SequenceClassification",
        saved(tiny_model("bert", labels=2), folder / "model"),
        dataset={
            "uri": write_csv(folder / "rows.csv", ("text", "label"), hard_rows(40)),
            "columns": {"text": "text", "label": "label"},
            "validationFraction": 0,
            "testFraction": 0,
        },
        training={
            "maxSteps": 42,
            "epochs": 100,
            "globalBatchSize": 4,
            "watchdog": watchdog,
            "checkpoints": checkpoints,
        },
        output={"uri": (folder / "out").as_uri()},
    )


def test_it_is_told_and_the_training_goes_on(tmp_path: Path) -> None:
    run_of(job(tmp_path), tmp_path)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    (note,) = [event["text"] for event in events if event["event"] == "note" and "usual" in event["text"]]
    assert note.startswith(f"the loss of step {POISONED} is ")


def test_it_ends_a_run_that_wants_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"^the loss of step {POISONED} is .*; look at the rows of that step") as found:
        run_of(job(tmp_path, onSpike="Fail"), tmp_path)
    assert found.value.reason == Reason.LOSS_SPIKE


def test_a_run_that_goes_on_knows_what_was_usual_before(tmp_path: Path) -> None:
    wanted = job(tmp_path, {"everySteps": 5}, onSpike="Fail")
    with pytest.raises(RunError):
        run_of(wanted, tmp_path)
    with pytest.raises(RunError, match=r"^the loss of step \d+ is ") as found:
        run_of(wanted, tmp_path)
    notes = (tmp_path / "events.jsonl").read_text()
    assert "the training goes on behind step" in notes
    assert found.value.reason == Reason.LOSS_SPIKE


def test_a_run_that_rolls_back_takes_other_rows_behind_its_checkpoint_as_often_as_it_must(tmp_path: Path) -> None:
    wanted, told, spike = job(tmp_path, {"everySteps": 5}, onSpike="RollBack"), [], POISONED
    for _ in range(2):
        with pytest.raises(RunError, match=rf"^the loss of step {spike} .* goes on from step \d+, and takes") as found:
            run_of(wanted, tmp_path)
        assert found.value.reason == Reason.ROLLED_BACK
        # Which steps are saved is a matter of how long an upload takes.
        behind = int(re.findall(r"from step (\d+)", found.value.message)[0])
        told.append(
            f"the loss of step {spike} jumped in an earlier execution: behind step {behind} the rows that are left of"
            " that epoch are taken in another order"
        )
        spike = behind + AGAIN - POISONED
    run_of(wanted, tmp_path)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert [note for note in notes if "earlier execution" in note] == told
    (run,) = (tmp_path / "out").rglob("manifest.json")
    steps = [json.loads(line) for line in (run.parent / "executions/3/metrics.jsonl").read_text().splitlines()]
    assert [one["step"] for one in steps if one.get("type") == "step"] == [*range(1, 43)]
