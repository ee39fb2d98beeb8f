"""Publishing to a server of each protocol, and what is left when something ends it midway.

N11: but for S3's, nobody had ever published to one.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_api.schemes import scheme_of
from kubetune_trainer.artifact.examined import examine
from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.artifact.publish import claim, commit, preflight, upload_folder
from kubetune_trainer.artifact.published import find_published
from kubetune_trainer.artifact.verify import verify
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import Expectation
from kubetune_trainer.storage.store import Store
from servers.object_storage import ObjectServer, new_server, shown
from support.published_runs import published_run
from support.run_records import classification
from support.stores import put
from support.tiny_models import saved, tiny_model

NOW = "2026-03-02T09:14:07Z"
PART = 2**20
"""Bytes; what a part of a large file has at least."""
LARGE = {"s3": 200 * 2**20, "gs": 64 * 2**20, "az": 64 * 2**20}
"""Bytes of an upload that can be caught midway."""


@pytest.fixture
def own_server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectServer]:
    """A server of this test alone, which may be stopped."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = new_server(request.param, folder)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def large_model(tmp_path: Path, size: int) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(size)
    return folder


def publish(model: Path, uri: str) -> bool:
    """Whether the manifest is this execution's."""
    store = Store.open(uri)
    run = claim(Run(job=classification().job, run_id="run-1", workers=1), store, NOW)
    files = upload_folder(model, store, f"{run.folder}/model")
    return commit(store, {"files": [file.name for file in files]}) is not None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # it has just been moved
        return 0


@contextmanager
def once_the_upload_runs(server: ObjectServer, act: Callable[[], None]) -> Iterator[None]:
    """Acts as soon as a part of a large file has come to the server."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            with suppress(FileNotFoundError):  # a folder has just been moved
                if any(_size(path) >= PART for path in server.unfinished.rglob("*")):
                    act()
                    return
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@pytest.mark.parametrize(
    ("own_server", "how", "why"),
    [
        *(
            pytest.param(
                scheme,
                "stop",
                "cannot be reached; check the endpoint, and whether the server runs",
                id=f"{scheme} dies",
            )
            for scheme in LARGE
        ),
        pytest.param(
            "s3",
            "freeze",
            "did not answer within 4 seconds; check the server and the network, or raise"
            " KUBETUNE_STORAGE_TIMEOUT_SECONDS",
            id="s3 hangs",
        ),
    ],
    indirect=["own_server"],
)
def test_a_server_that_stops_midway_leaves_no_manifest(
    own_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, why: str
) -> None:
    monkeypatch.setenv("KUBETUNE_STORAGE_TIMEOUT_SECONDS", "4")
    uri = f"{own_server.make_bucket('models')}/run"
    model = large_model(tmp_path, LARGE[scheme_of(uri)])
    with once_the_upload_runs(own_server, getattr(own_server, how)), pytest.raises(RunError) as caught:
        publish(model, uri)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        f"{uri}/executions/1/model/model.safetensors could not be written: {shown(own_server)} {why}."
    )
    own_server.stop()
    own_server.start()
    store = Store.open(uri)
    assert store.children()[1] == []
    assert [info.path for info in store.children("executions/1/model")[1]] == ["executions/1/model/config.json"]
    assert publish(model, uri)
    assert b"executions/2/model/model.safetensors" in store.get("manifest.json")


def test_two_runs_at_once_publish_once(bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    start = threading.Barrier(2)

    def attempt(_: int) -> bool:
        start.wait()
        return publish(folder, f"{bucket}/run")

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == [False, True]
    store = Store.open(f"{bucket}/run")
    assert [info.path for info in store.children("executions")[1]] == ["executions/1.json", "executions/2.json"]
    (named,) = json.loads(store.get("manifest.json"))["files"]
    assert store.get(named) == b"{}"


def test_a_model_is_published_verified_and_found_again(bucket: str, tmp_path: Path) -> None:
    store, record = Store.open(f"{bucket}/run"), classification(run_id="run-1", execution=1)
    preflight(store)
    model = tiny_model("bert", labels=2)
    base, trained = (saved(model, tmp_path / name) for name in ("base", "trained"))
    tensors = {name: tensor + 0.5 for name, tensor in model.state_dict().items()}
    save_file(tensors, trained / "model.safetensors")
    run = claim(Run(job=record.job, run_id="run-1", workers=1), store, NOW)
    files = upload_folder(trained, store, f"{run.folder}/model")
    expected = Expectation(
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        base_names={name: name for name in tensors},
        frozen=frozenset(),
        first_values={},
    )
    verified = verify(store, f"{run.folder}/model", files, expected, base, AutoModelForSequenceClassification)
    assert (verified.files, verified.changed) == (len(files), len(tensors))
    assert commit(store, manifest(record, files, folder=run.folder)) is not None
    assert commit(store, manifest(record, files[:1], folder=run.folder)) is None
    found = find_published(run, store)
    assert found is not None
    artifact = found.status(None).artifact
    assert artifact is not None
    assert artifact.uri == f"{bucket}/run/executions/1/model"


def test_a_published_run_is_examined_where_it_lies(bucket: str) -> None:
    artifact = published_run(f"{bucket}/run")
    examined = examine(artifact.uri, lambda *_: None, artifact.digest)
    assert (examined.errors, examined.size_bytes, examined.files) == ((), artifact.size_bytes, 5)
    store = Store.open(f"{bucket}/run/executions/1")
    put(store, "model/tokenizer.json", b"[]")
    store.delete("report.html")
    put(store, "model/more.bin", b"code")
    assert examine(f"{bucket}/run", lambda *_: None).errors == (
        "executions/1/model/tokenizer.json has other bytes than were published",
        "executions/1/report.html is missing",
        "executions/1/model/more.bin is there, but manifest.json does not name it: it was not published",
    )
