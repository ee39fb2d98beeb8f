"""How a result is published: nobody sees half of it, and nobody replaces it."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kubetune_api.job import FineTuneJob
from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.artifact.publish import (
    canonical_json,
    claim,
    commit,
    preflight,
    refuse_nested,
    refuse_unknown,
    upload_folder,
)
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import RunRecord, StoredFile
from kubetune_trainer.storage.store import Store
from support.run_records import causal, classification
from support.stores import put

NOW = "2026-03-02T09:14:07Z"


@pytest.fixture
def run() -> Run:
    return Run(job=classification().job, run_id="run-1", workers=2)


def files_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_preflight_leaves_nothing_behind(store: Store, root: Path) -> None:
    preflight(store)
    assert files_below(root) == []


def test_a_preflight_over_a_published_run_does_not_touch_it(store: Store, root: Path) -> None:
    commit(store, {"files": []})
    preflight(store)
    assert files_below(root) == ["manifest.json"]


@pytest.mark.parametrize("below", ["executions/1/model", "executions", "more"])
def test_an_output_within_the_folder_of_another_run_is_refused(run: Run, tmp_path: Path, below: str) -> None:
    """S11: the other run would find files that it never wrote, and end with VerificationFailed."""
    victim = moved(run, tmp_path.as_uri())
    claim(victim, Store.open(victim.root), NOW)
    nested = moved(run, f"{victim.root}/{below}")
    with pytest.raises(RunError, match=r"spec\.output\.uri: .* lies within the run .*/run-1, whose files") as caught:
        refuse_nested(nested, Store.open)
    assert caught.value.reason == Reason.INVALID_MANIFEST


def test_runs_side_by_side_and_the_run_itself_again_are_not_refused(run: Run, tmp_path: Path) -> None:
    first = moved(run, tmp_path.as_uri())
    claim(first, Store.open(first.root), NOW)
    refuse_nested(first, Store.open)
    refuse_nested(first.model_copy(update={"run_id": "run-2"}), Store.open)


def moved(run: Run, output: str) -> Run:
    """The run with another output."""
    spec = run.job.spec.model_copy(update={"output": run.job.spec.output.model_copy(update={"uri": output})})
    return run.model_copy(update={"job": run.job.model_copy(update={"spec": spec})})


class CarelessStore(Store):
    """A store that takes If-None-Match for a decoration, as some S3 servers do."""

    def create(self, path: str, data: bytes) -> bool:
        put(self, path, data)
        return True


def test_a_store_without_conditional_creation_is_refused_at_once(root: Path) -> None:
    store = CarelessStore.open(root.as_uri())
    with pytest.raises(RunError) as caught:
        preflight(store)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        f"The store of {root.as_uri()} does not keep an object from being replaced (conditional creation,"
        " If-None-Match), so two runs could overwrite each other; use a store that does."
    )
    assert files_below(root) == []


def test_an_output_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    store = Store.open((tmp_path / "out" / "run").as_uri())
    with pytest.raises(RunError) as caught:
        preflight(store, token="x")
    assert str(caught.value) == (
        f"{store.uri('.preflight-x')} could not be written:"
        " a part of the path is a file, not a folder; correct the path."
    )


def test_a_run_gets_the_lowest_execution_that_is_free(store: Store, root: Path, run: Run) -> None:
    assert claim(run, store, NOW) == run.model_copy(update={"execution": 1})
    owner = json.loads((root / "executions/1.json").read_bytes())
    assert (owner["run"], owner["attempt"], owner["execution"], owner["claimedAt"]) == ("run-1", 1, 1, NOW)
    assert claim(run, store, NOW).execution == 2
    assert json.loads((root / "executions/1.json").read_bytes()) == owner
    assert files_below(root) == ["executions/1.json", "executions/2.json"]


def test_a_number_that_was_claimed_is_not_tried_for_again(store: Store, root: Path, run: Run) -> None:
    put(store, "executions/1.json", b"somebody else's")
    put(store, "executions/3.json", b"somebody else's")
    assert [claim(run, store, NOW).execution for _ in range(2)] == [2, 4]
    assert (root / "executions/1.json").read_bytes() == b"somebody else's"


def test_of_many_who_claim_at_once_each_gets_a_number_of_its_own(store: Store, run: Run) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: claim(run, store, NOW).execution, range(16)))
    assert sorted(number or 0 for number in claimed) == list(range(1, 17))


def test_a_run_that_never_was_cannot_go_on(store: Store, run: Run) -> None:
    with pytest.raises(RunError, match=r"there is no run run-1 in .* that could go on") as refused:
        refuse_unknown(run, store)
    assert refused.value.reason == Reason.INVALID_MANIFEST
    claim(run, store, NOW)
    refuse_unknown(run, store)


def test_a_run_is_not_started_without_end(store: Store, root: Path, run: Run) -> None:
    for _ in range(2):
        claim(run, store, NOW, most=2)
    with pytest.raises(RunError) as caught:
        claim(run, store, NOW, most=2)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        f"{root.as_uri()}/executions holds 2 executions of this run, the most that there may be; start a new job, which"
        " gets a folder of its own."
    )


def test_a_folder_is_uploaded_with_all_below_it(store: Store, root: Path, tmp_path: Path) -> None:
    (tmp_path / "local" / "deep").mkdir(parents=True)
    (tmp_path / "local" / "b").write_bytes(b"bb")
    (tmp_path / "local" / "deep" / "a").write_bytes(b"a")
    files = upload_folder(tmp_path / "local", store, "executions/1/model")
    assert files == [
        StoredFile("executions/1/model/b", 2, hashlib.sha256(b"bb").hexdigest()),
        StoredFile("executions/1/model/deep/a", 1, hashlib.sha256(b"a").hexdigest()),
    ]
    assert files_below(root) == [file.name for file in files]


def test_a_manifest_is_written_once_and_never_replaced(store: Store, root: Path) -> None:
    assert commit(store, {"winner": 1}) == b'{"winner":1}\n'
    assert commit(store, {"winner": 2}) is None
    assert (root / "manifest.json").read_bytes() == b'{"winner":1}\n'


def test_the_same_content_is_the_same_bytes() -> None:
    assert canonical_json({"b": "ä", "a": [1, 2.5, None]}) == '{"a":[1,2.5,null],"b":"ä"}\n'.encode()
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1})


@pytest.mark.parametrize("record", [classification(), causal()], ids=["a classification", "a language model"])
def test_a_manifest_says_what_is_there_and_where_it_came_from(record: RunRecord) -> None:
    files = [StoredFile("executions/1/model/model.safetensors", 9, "b" * 64), StoredFile("README.md", 3, "a" * 64)]
    content = json.loads(canonical_json(manifest(record, files, folder="executions/1")))
    assert content["files"] == [
        {"path": "README.md", "size": 3, "sha256": "a" * 64},
        {"path": "executions/1/model/model.safetensors", "size": 9, "sha256": "b" * 64},
    ]
    assert (content["run"], content["execution"]) == (record.run_id, record.execution)
    assert content["rejected"] == any(not result.met for result in record.requirements)
    assert content["metrics"] == record.final_metrics()
    assert [entry["met"] for entry in content["requirements"]] == [result.met for result in record.requirements]
    provenance = content["provenance"]
    assert provenance["baseModel"]["files"][0] == {
        "uri": record.base.files[0].name,
        "size": record.base.files[0].size,
        "sha256": record.base.files[0].sha256,
    }
    assert [file["uri"] for file in provenance["data"]["files"]] == [file.name for file in record.data.files]
    assert FineTuneJob.model_validate(provenance["job"]).spec == record.job.spec
    assert (provenance["workers"], provenance["zeroStage"]) == (record.resolved.workers, record.resolved.stage)
    assert provenance["versions"] == record.versions


def test_a_metric_beyond_all_numbers_is_null() -> None:
    record = causal()
    last = record.evaluations[-1]
    last.metrics["perplexity"] = float("inf")
    content = manifest(record, [], folder="executions/1")
    assert content["metrics"][f"{last.split}/perplexity"] is None
