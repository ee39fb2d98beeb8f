"""What an execution that begins finds, adds to the chain and removes."""

from pathlib import Path
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_api.status import CheckpointStatus
from kubetune_trainer.checkpoint.chain import Chain, read_chain
from kubetune_trainer.checkpoint.manifest import Checkpoint, sealed
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import LastProgress
from kubetune_trainer.handoff import WorkerInput
from kubetune_trainer.launch import Prepared, with_checkpoints
from kubetune_trainer.model.source import PretrainedModel
from kubetune_trainer.records import DataReport
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks.causal import Vocabulary
from kubetune_trainer.training.batches import BatchPlan
from support.no_giving_up import no_giving_up
from support.tiny_models import completion_rows, job_for


class Notes(LastProgress):
    """Remembers notes."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def begin(
    store: Store,
    execution: int,
    notes: Notes | None = None,
    *,
    saves: bool = True,
    by_default: bool = False,
    **training: Any,
) -> WorkerInput:
    settings = training | ({"checkpoints": {"everySteps": 5}} if saves else {})
    job = job_for("CausalLM", training=settings).resolved
    run = Run(job=job, run_id="run-1", execution=execution, saves_by_default=by_default)
    data = PreparedData({"train": completion_rows(9)}, Vocabulary(), DataReport((), 9, (), ()))
    resolved = ResolvedTraining(0, "FP32", 8, 1, 1e-3, 32)
    given = WorkerInput(run, resolved, False, BatchPlan(9, 4, 4, 1, 3), ((), ()), "")
    prepared = Prepared(run, PretrainedModel(Path(), (), job.spec.model), data, 32, Path(), no_giving_up)
    return with_checkpoints(prepared, given, store, notes or Notes())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path.as_uri())


def saved(store: Store, given: WorkerInput, step: int) -> Checkpoint:
    """A checkpoint of that execution, whose files are there."""
    assert given.kept is not None
    folder = f"{given.run.folder}/checkpoints/step-{step:08}"
    files = [{"path": f"{folder}/{name}", "size": 1, "sha256": "0" * 64} for name in ("rank-0", "history")]
    found = Checkpoint.model_validate(
        {"run": "run-1", "execution": given.run.claimed, "step": step, "epoch": 0, "rowsSeen": 0, "workers": 1,
         "shards": files[:1], "history": files[1], "identity": given.kept.identity},
    )  # fmt: skip
    for file in found.files:
        store.create(file.name, b"x")
    assert store.create(f"checkpoints/{given.kept.last + 1:06}.json", sealed(found))
    return found


def test_the_first_execution_begins_the_chain(store: Store) -> None:
    kept = begin(store, 1).kept
    assert kept is not None
    assert (kept.last, kept.checkpoints) == (1, ())


def test_the_next_one_finds_what_was_committed_and_sweeps_the_rest(store: Store, tmp_path: Path) -> None:
    first = begin(store, 1)
    committed = saved(store, first, 5)
    store.create("executions/1/checkpoints/step-00000010/rank-0", b"x")
    notes = Notes()
    kept = begin(store, 2, notes).kept
    assert kept is not None
    assert (kept.last, kept.checkpoints) == (3, (committed,))
    assert notes.last_checkpoint == CheckpointStatus(step=5)
    assert [path.name for path in (tmp_path / "executions" / "1").rglob("*-0")] == ["rank-0"]


def test_what_an_entry_that_cannot_be_read_may_name_is_kept(store: Store, tmp_path: Path) -> None:
    first = begin(store, 1)
    saved(store, first, 5)
    entry = tmp_path / "checkpoints" / "000002.json"
    entry.write_bytes(entry.read_bytes().replace(b'"step":5', b'"step":6'))
    kept = begin(store, 2).kept
    assert kept is not None
    assert (kept.checkpoints, len(kept.damaged)) == ((), 1)
    assert [path.name for path in (tmp_path / "executions" / "1").rglob("*-0")] == ["rank-0"]


def test_what_is_committed_while_the_next_one_begins_is_what_it_goes_on_from(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier execution is still alive: it commits between the reading of the chain and its next entry."""
    first = begin(store, 1)
    committed, started = list[Checkpoint](), Chain.begin

    def late(chain: Chain) -> None:
        committed.append(saved(store, first, 5))
        started(chain)

    monkeypatch.setattr(Chain, "begin", late)
    kept = begin(store, 2).kept
    assert kept is not None
    assert kept.checkpoints == tuple(committed)
    assert all(store.info(file.name) for file in committed[0].files)


def test_an_execution_that_a_later_one_has_replaced_does_not_begin(store: Store) -> None:
    begin(store, 3)
    with pytest.raises(RunError, match="another execution of this run has begun"):
        begin(store, 2)


def test_a_store_that_removes_nothing_does_not_end_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(store: Store, path: str) -> None:
        raise RunError(Reason.STORAGE_FAILED, f"{path} was not removed")

    store.create("executions/1/checkpoints/step-00000010/rank-0", b"x")
    monkeypatch.setattr(Store, "delete", refuse)
    notes = Notes()
    assert begin(store, 1, notes).kept is not None
    assert len(notes.said) == 1
    assert "old checkpoints were not removed" in notes.said[0]


def test_another_training_is_refused_and_the_chain_stays(store: Store) -> None:
    saved(store, begin(store, 1), 5)
    with pytest.raises(RunError, match=r"spec\.training\.learningRate differs from that of the checkpoint of step 5"):
        begin(store, 2, learningRate=0.5)
    assert read_chain(store, "run-1").last == 2


def test_a_run_that_does_not_save_has_no_chain(store: Store) -> None:
    notes = Notes()
    assert begin(store, 1, notes, saves=False).kept is None
    assert notes.said == []
    assert begin(store, 2, notes, saves=False).kept is None
    assert notes.said == ["earlier executions of this run have left no checkpoint: the training begins anew"]
    assert read_chain(store, "run-1").last == 0


def test_one_that_does_not_save_goes_on_all_the_same(store: Store) -> None:
    saved(store, begin(store, 1), 5)
    kept = begin(store, 2, saves=False).kept
    assert kept is not None
    assert [one.step for one in kept.checkpoints] == [5]


def test_where_nobody_asked_for_checkpoints_another_training_begins_anew(store: Store) -> None:
    saved(store, begin(store, 1, by_default=True), 5)
    notes = Notes()
    kept = begin(store, 2, notes, by_default=True, learningRate=0.5).kept
    assert kept is not None
    assert (kept.last, kept.checkpoints, kept.damaged) == (3, (), ())
    (note,) = notes.said
    assert note.startswith("spec.training.learningRate differs from that of the checkpoint of step 5")
    assert note.endswith(": the training begins anew")
