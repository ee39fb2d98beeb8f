"""The doorway to storage against a real S3 server."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from kubetune_api.reasons import Reason
from kubetune_trainer.artifact.publish import preflight
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.models import fetch_model
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import MissingObjectError, Store
from kubetune_trainer.storage.trees import StoreSource, fetch
from servers.s3 import S3Server
from support.stores import put

KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones)"


@pytest.fixture
def server(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    s3_server.make_bucket("models")
    return s3_server


def write_noise(path: Path, size: int) -> Path:
    """`size` bytes that no compression makes smaller, quickly made."""
    block = random.Random(0).randbytes(2**20)
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: min(len(block), size - start)])
    return path


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="an empty file"),
        pytest.param(100, id="a small file"),
        pytest.param(200 * 2**20 + 1, id="200 MiB in parts"),
    ],
)
def test_a_file_comes_back_with_the_same_digest(server: S3Server, tmp_path: Path, size: int) -> None:
    store = Store.open("s3://models/team/run")
    sent = store.upload(write_noise(tmp_path / "sent", size), "model/weights.bin")
    got = store.download("model/weights.bin", tmp_path / "got")
    assert (got.size, got.sha256) == (sent.size, sent.sha256)
    assert sent.size == size
    assert (server.root / "models/team/run/model/weights.bin").stat().st_size == size


def test_a_preflight_leaves_nothing_behind(server: S3Server) -> None:
    store = Store.open("s3://models/team/run")
    preflight(store)
    assert store.children() == ([], [])


def test_an_object_is_created_once(server: S3Server) -> None:
    store = Store.open("s3://models/team")
    assert store.create("manifest.json", b"first")
    assert not store.create("manifest.json", b"second")
    assert store.get("manifest.json") == b"first"


def test_of_many_who_create_at_once_one_wins(server: S3Server) -> None:
    store = Store.open("s3://models/team")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: store.create("claim.json", b"%d" % number), range(32)))
    assert sum(won) == 1
    assert store.get("claim.json") == b"%d" % won.index(True)


def test_objects_are_listed_and_deleted(server: S3Server) -> None:
    store = Store.open("s3://models/team")
    for name in ("b", "a", "deep/c"):
        put(store, name, name.encode())
    folders, objects = store.children()
    assert (folders, [info.path for info in objects]) == (["deep"], ["a", "b"])
    store.delete("a")
    store.delete("a")
    with pytest.raises(MissingObjectError):
        store.get("a")


def test_a_dataset_is_fetched_by_its_pattern(server: S3Server, tmp_path: Path) -> None:
    data = Store.open(server.make_bucket("datasets"))
    for month in ("2025-01", "2025-02"):
        put(data, f"reviews/{month}/rows.csv", month.encode())
    put(data, "reviews/2025-01/notes.txt", b"no data")
    files = fetch_dataset("s3://datasets/reviews/2025-*/*.csv", None, tmp_path)
    assert [(file.uri, file.path.read_text()) for file in files] == [
        ("s3://datasets/reviews/2025-01/rows.csv", "2025-01"),
        ("s3://datasets/reviews/2025-02/rows.csv", "2025-02"),
    ]


def test_a_model_is_fetched_once_and_only_what_is_safe_of_it(server: S3Server, tmp_path: Path) -> None:
    folder = Store.open("s3://models/base")
    put(folder, "config.json", b'{"model_type": "bert"}')
    put(folder, "tokenizer.json", b"{}")
    put(folder, "model.safetensors", save({"weight": torch.ones(4)}))
    put(folder, "pytorch_model.bin", b"a pickle")
    seen = fetch_model("s3://models/base", None, tmp_path)
    assert [file.uri for file in seen.files] == [
        f"s3://models/base/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")
    ]
    inode = (seen.folder / "model.safetensors").stat().st_ino
    again = fetch_model("s3://models/base", None, tmp_path, expect=seen.stored)
    assert (again.folder / "model.safetensors").stat().st_ino == inode
    put(folder, "model.safetensors", save({"weight": torch.zeros(4)}))
    assert fetch_model("s3://models/base", None, tmp_path, expect=seen.stored).files == again.files
    with pytest.raises(RunError, match=r"model\.safetensors is another file now; start again"):
        fetch_model("s3://models/base", None, tmp_path / "another node", expect=seen.stored)


@pytest.mark.parametrize("tagged", [True, False], ids=["by its ETag", "by its time, where it has no ETag"])
def test_an_object_replaced_after_the_listing_is_refused(server: S3Server, tmp_path: Path, tagged: bool) -> None:
    store, path = Store.open("s3://models/data"), server.root / "models/data/a.csv"
    put(store, "a.csv" if tagged else "b.txt", b"one")
    if not tagged:
        path.write_bytes(b"one")  # past the server, which has no ETag for it then
        os.utime(path, (1, 1))
    source = StoreSource(store)
    listed = [info for info in source.children()[1] if info.path == "a.csv"]
    assert ("1970" in listed[0].version) is not tagged
    assert fetch(source, listed, tmp_path / "before")[0].path.read_bytes() == b"one"
    put(store, "a.csv", b"two") if tagged else os.utime(path, (5, 5))
    with pytest.raises(RunError) as caught:
        fetch(source, listed, tmp_path / "after")
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        "s3://models/data/a.csv changed or went away while it was being read; start the run again."
    )


def test_a_download_does_not_write_through_a_link_that_an_earlier_try_left(server: S3Server, tmp_path: Path) -> None:
    store = Store.open("s3://models/data")
    put(store, "a.csv", b"one")
    precious, folder = tmp_path / "precious", tmp_path / "folder"
    precious.write_bytes(b"not to be touched")
    folder.mkdir()
    (folder / "a.csv").symlink_to(precious)
    source = StoreSource(store)
    assert source.fetch(source.children()[1], folder)[0].path.read_bytes() == b"one"
    assert precious.read_bytes() == b"not to be touched"


@pytest.mark.parametrize(
    ("variable", "why"),
    [
        pytest.param("AWS_ACCESS_KEY_ID", "the access key is unknown there", id="a wrong access key"),
        pytest.param("AWS_SECRET_ACCESS_KEY", "the secret key does not fit the access key", id="a wrong secret key"),
    ],
)
def test_wrong_credentials_are_told(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, why: str
) -> None:
    monkeypatch.setenv(variable, "something wrong")
    with pytest.raises(RunError) as caught:
        preflight(Store.open("s3://models/team"), token="x")
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert str(caught.value) == (
        f"s3://models/team/.preflight-x could not be written:"
        f" {server.endpoint} refused the credentials ({why}); {KEYS}."
    )
    with pytest.raises(RunError) as caught:
        fetch_dataset("s3://models/*.csv", None, tmp_path)
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert "something wrong" not in str(caught.value)


def test_a_missing_bucket_is_told(server: S3Server, tmp_path: Path) -> None:
    remedy = f"{server.endpoint} has no bucket elsewhere; create it, or correct the URI."
    with pytest.raises(RunError) as caught:
        preflight(Store.open("s3://elsewhere/team"), token="x")
    assert caught.value.reason == Reason.INVALID_MANIFEST
    assert str(caught.value) == f"s3://elsewhere/team/.preflight-x could not be written: {remedy}"
    with pytest.raises(RunError) as caught:
        fetch_dataset("s3://elsewhere/team/*.csv", None, tmp_path)
    assert str(caught.value) == f"s3://elsewhere/team could not be listed: {remedy}"


def test_another_region_is_told(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(RunError) as caught:
        put(Store.open("s3://models"), "note", b"")
    assert str(caught.value) == (
        f"s3://models/note could not be written: {server.endpoint} says that it is in another region;"
        " set AWS_REGION to it."
    )


def test_names_with_signs_come_back_as_they_were(server: S3Server) -> None:
    store = Store.open("s3://models/ä team")
    for name in ("50% of it.csv", "a+b=c&d.csv", "ü#1?.csv"):
        put(store, name, os.fsencode(name))
    assert [info.path for info in store.children()[1]] == sorted(("50% of it.csv", "a+b=c&d.csv", "ü#1?.csv"))
    assert store.get("50% of it.csv") == b"50% of it.csv"
