"""Publishing to a real S3 server: what is left when something ends it midway."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.artifact.publish import claim, commit, upload_folder
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.store import Store
from servers.s3 import S3Server
from support.run_records import classification

NOW = "2026-03-02T09:14:07Z"
PART = 2**20
"""Bytes; what a part of a large file has at least."""


@pytest.fixture
def server(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KUBETUNE_STORAGE_TIMEOUT_SECONDS", "4")
    s3_server.make_bucket("models")
    return s3_server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of a model large enough that its upload can be caught midway."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(200 * 2**20)
    return folder


def publish(model: Path) -> bool:
    """Whether the manifest is this execution's."""
    store = Store.open("s3://models/run")
    run = claim(Run(job=classification().job, run_id="run-1", workers=1), store, NOW)
    files = upload_folder(model, store, f"{run.folder}/model")
    return commit(store, {"files": [file.name for file in files]}) is not None


def manifest_of(server: S3Server) -> Path:
    return server.root / "models/run/manifest.json"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # it has just been moved
        return 0


@contextmanager
def once_the_upload_runs(server: S3Server, act: Callable[[], None]) -> Iterator[None]:
    """Acts as soon as a part of a large file has come to the server."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if any(_size(path) >= PART for path in (server.root / "models").rglob(".sgwtmp/multipart/**/*")):
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
    ("how", "why"),
    [
        pytest.param(
            "stop", "cannot be reached; check the endpoint, and whether the server runs", id="the server dies"
        ),
        pytest.param(
            "freeze",
            "did not answer within 4 seconds; check the server and the network, or raise"
            " KUBETUNE_STORAGE_TIMEOUT_SECONDS",
            id="the server hangs",
        ),
    ],
)
def test_a_server_that_stops_midway_leaves_no_manifest(server: S3Server, model: Path, how: str, why: str) -> None:
    with once_the_upload_runs(server, getattr(server, how)), pytest.raises(RunError) as caught:
        publish(model)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        f"s3://models/run/executions/1/model/model.safetensors could not be written: {server.endpoint} {why}."
    )
    assert not manifest_of(server).exists()
    server.stop()
    server.start()
    assert Store.open("s3://models/run").children("executions/1/model")[1][0].path == "executions/1/model/config.json"
    assert publish(model)
    assert "executions/2/model/model.safetensors" in manifest_of(server).read_text()


def test_two_runs_at_once_publish_once(server: S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    start = threading.Barrier(2)

    def attempt(_: int) -> bool:
        start.wait()
        return publish(folder)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == [False, True]
    claims = {path.name for path in (server.root / "models/run/executions").glob("*.json")}
    assert claims == {"1.json", "2.json"}
    (named,) = json.loads(manifest_of(server).read_bytes())["files"]
    assert (server.root / "models/run" / named).exists()
