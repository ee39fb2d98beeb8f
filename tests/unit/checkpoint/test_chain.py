"""The chain of a run: who may commit, what is edited, what is swept."""

import hashlib
import json
from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.artifact.publish import canonical_json
from kubetune_trainer.checkpoint.chain import Chain, end, folder_of, read_chain, remove, sweep
from kubetune_trainer.checkpoint.manifest import Checkpoint, DamagedError, End, Start, sealed, unsealed
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.store import Store
from support.tiny_models import job_for

RUN = Run(job=job_for("CausalLM"), run_id="run-1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path.as_uri())


def execution(number: int) -> Run:
    return RUN.model_copy(update={"execution": number})


def checkpoint(run: Run, step: int) -> Checkpoint:
    folder = folder_of(run, step)
    files = [{"path": f"{folder}/{name}", "size": 1, "sha256": "0" * 64} for name in ("rank-0", "history")]
    return Checkpoint.model_validate(
        {"run": run.run_id, "execution": run.claimed, "step": step, "epoch": 0, "rowsSeen": step, "workers": 1,
         "shards": files[:1], "history": files[1], "identity": {}},
    )  # fmt: skip


def uploaded(store: Store, run: Run, step: int) -> Checkpoint:
    """Its files are there."""
    found = checkpoint(run, step)
    for file in found.files:
        store.create(file.name, b"x")
    return found


def begun(store: Store, number: int) -> Chain:
    chain = Chain(store, execution(number), read_chain(store, RUN.run_id).last)
    chain.begin()
    return chain


def test_the_newest_checkpoint_comes_first(store: Store) -> None:
    chain = begun(store, 1)
    for step in (5, 10):
        assert chain.commit(checkpoint(execution(1), step))
    found = read_chain(store, RUN.run_id)
    assert [one.step for one in found.checkpoints] == [10, 5]
    assert (found.last, found.damaged) == (3, ())


def test_an_execution_that_was_replaced_commits_nothing_and_does_not_publish(store: Store) -> None:
    """A process that was paused goes on: whatever it has uploaded, the chain is no longer its own."""
    stale = begun(store, 1)
    assert stale.commit(checkpoint(execution(1), 5))
    begun(store, 2)
    assert not stale.commit(checkpoint(execution(1), 10))
    assert [one.step for one in read_chain(store, RUN.run_id).checkpoints] == [5]
    with pytest.raises(RunError, match="another execution of this run has begun") as refused:
        end(store, execution(1))
    assert refused.value.reason == Reason.INTERRUPTED
    end(store, execution(2))


def test_one_that_begins_while_another_commits_stands_behind_it(store: Store) -> None:
    first = begun(store, 1)
    second = Chain(store, execution(2), read_chain(store, RUN.run_id).last)
    assert first.commit(checkpoint(execution(1), 5))
    second.begin()
    assert second.last == 3
    assert not first.commit(checkpoint(execution(1), 10))
    assert second.commit(checkpoint(execution(2), 10))


def test_one_that_begins_late_does_not_fence_off_a_later_one(store: Store) -> None:
    slow = Chain(store, execution(2), read_chain(store, RUN.run_id).last)
    later = begun(store, 3)
    with pytest.raises(RunError, match="another execution of this run has begun"):
        slow.begin()
    assert later.commit(checkpoint(execution(3), 5))


def test_an_answer_that_is_lost_does_not_look_like_another_execution(store: Store) -> None:
    """The entry is there, and the one who wrote it was told that it is not."""
    begun(store, 1)
    forgetful = Chain(store, execution(1), 1)
    assert Chain(store, execution(1), 1).commit(checkpoint(execution(1), 5))
    assert forgetful.commit(checkpoint(execution(1), 10))
    assert [one.step for one in read_chain(store, RUN.run_id).checkpoints] == [10, 5]


def test_no_more_entries_are_read_than_are_wanted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, asked, get = begun(store, 1), list[str](), Store.get
    for step in range(5, 60, 5):
        chain.commit(checkpoint(execution(1), step))
    monkeypatch.setattr(Store, "get", lambda self, path: asked.append(path) or get(self, path))
    assert [one.step for one in read_chain(store, RUN.run_id, most=2).checkpoints] == [55, 50]
    assert len(asked) == 2


def test_other_files_beside_the_entries_do_not_matter(store: Store) -> None:
    begun(store, 1)
    store.create("checkpoints/notes.json", b"{}")
    assert read_chain(store, RUN.run_id).last == 1


@pytest.mark.parametrize("path", ["manifest.json", "executions/1/model/model.safetensors", "executions/1/../x"])
def test_an_entry_that_names_other_files_is_none(path: str) -> None:
    content = json.loads(sealed(checkpoint(execution(1), 5)))
    content["entry"]["shards"][0]["path"] = path
    with pytest.raises(DamagedError, match="not one of kubetune"):
        unsealed(json.dumps(content).encode(), RUN.run_id)


def test_one_that_has_ended_is_not_followed_by_a_stale_commit(store: Store) -> None:
    chain = begun(store, 1)
    end(store, execution(1))
    assert not chain.commit(checkpoint(execution(1), 5))


def test_an_entry_of_a_version_that_knew_fewer_fields_can_be_read() -> None:
    content = json.loads(sealed(checkpoint(execution(1), 5)))["entry"]
    del content["records"]
    digest = hashlib.sha256(canonical_json(content)).hexdigest()
    found = unsealed(canonical_json({"entry": content, "sha256": digest}), RUN.run_id)
    assert found == checkpoint(execution(1), 5)


def test_an_entry_without_a_shard_of_each_worker_is_known() -> None:
    one = checkpoint(execution(1), 5)
    with pytest.raises(DamagedError, match="a shard of each worker"):
        unsealed(sealed(one.model_copy(update={"workers": 2})), RUN.run_id)


@pytest.mark.parametrize("field", ["step", "workers", "execution"])
def test_an_edited_manifest_is_known(field: str) -> None:
    content = json.loads(sealed(checkpoint(execution(1), 5)))
    content["entry"][field] += 1
    with pytest.raises(DamagedError, match="edited"):
        unsealed(json.dumps(content).encode(), RUN.run_id)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not one of kubetune"),
        (b"{}", "not one of kubetune"),
        (sealed(Start(run="run-2", execution=1)), "another run"),
        (sealed(End(run="run-1", execution=1))[:-9], "not one of kubetune"),
    ],
)
def test_what_is_no_manifest_of_the_run_is_known(data: bytes, why: str) -> None:
    with pytest.raises(DamagedError, match=why):
        unsealed(data, RUN.run_id)


def test_the_one_before_a_damaged_entry_is_taken_and_it_is_said(store: Store, tmp_path: Path) -> None:
    chain = begun(store, 1)
    for step in (5, 10):
        chain.commit(checkpoint(execution(1), step))
    path = tmp_path / "checkpoints" / "000003.json"
    path.write_bytes(path.read_bytes().replace(b'"step":10', b'"step":11'))
    found = read_chain(store, RUN.run_id)
    assert [one.step for one in found.checkpoints] == [5]
    assert found.last == 3
    (said,) = found.damaged
    assert said.endswith("checkpoints/000003.json cannot be used: its manifest was edited")


def test_uploads_that_no_kept_checkpoint_names_are_swept(store: Store, tmp_path: Path) -> None:
    old, kept = (uploaded(store, execution(1), step) for step in (5, 10))
    uploaded(store, execution(2), 15)
    sweep(store, [kept], range(1, 4))
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {file.name for file in kept.files}
    remove(store, [old, kept])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_that_a_kept_checkpoint_names_as_well_stays(store: Store, tmp_path: Path) -> None:
    old, newer = (uploaded(store, execution(1), step) for step in (5, 10))
    record = {"path": f"{folder_of(execution(1), 5)}/records.json", "size": 1, "sha256": "0" * 64}
    old, newer = (Checkpoint.model_validate({**one.model_dump(), "records": [record]}) for one in (old, newer))
    store.create(str(record["path"]), b"x")
    remove(store, [old], [newer])
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {file.name for file in newer.files}
    sweep(store, [newer], range(1, 2))
    assert store.info(str(record["path"]))
