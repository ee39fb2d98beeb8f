"""The doorway to storage against a server of each protocol: S3's, Google's and Azure's.

N11: but for S3's, nobody had ever asked one.
"""

import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from kubetune_api.reasons import Reason
from kubetune_api.schemes import SCHEMES, scheme_of
from kubetune_trainer.artifact.publish import preflight
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage import ranges
from kubetune_trainer.storage.credentials import Secret
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.storage.models import fetch_model
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import MissingObjectError, Store
from kubetune_trainer.storage.trees import StoreSource, fetch
from servers.azure import AzureServer
from servers.gcs import new_key, service_account_key
from servers.object_storage import ObjectServer, shown
from servers.s3 import S3Server
from support.stores import put

MANY_PARTS = {"s3": 260 * 2**20 + 1, "gs": 31 * 2**20 + 1, "az": 31 * 2**20 + 1}
"""Bytes of a large file; the servers of the last two are slow."""


def write_noise(path: Path, size: int) -> Path:
    """`size` bytes that no compression makes smaller, quickly made."""
    block = random.Random(0).randbytes(2**20)
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: min(len(block), size - start)])
    return path


@pytest.mark.parametrize("size", [0, 100, None], ids=["an empty file", "a small file", "a large file in parts"])
def test_a_file_comes_back_with_the_same_digest(bucket: str, tmp_path: Path, size: int | None) -> None:
    size = MANY_PARTS[scheme_of(bucket)] if size is None else size
    store = Store.open(f"{bucket}/team/run")
    sent = store.upload(write_noise(tmp_path / "sent", size), "model/weights.bin")
    got = store.download("model/weights.bin", tmp_path / "got")
    assert (got.size, got.sha256) == (sent.size, sent.sha256)
    assert sent.size == store.info("model/weights.bin").size == size


def test_an_object_is_fetched_in_ranges_of_one_and_the_same(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "RANGE", 2**18)
    store, sent = Store.open(bucket), write_noise(tmp_path / "sent", 2**20 + 1)
    file = store.upload(sent, "weights.bin")
    assert store.download("weights.bin", tmp_path / "got").sha256 == file.sha256
    asked = store._answer

    def answer(place: Location, version: str | None, span: tuple[int, int] | None = None) -> object:
        if span and span[0] == 2**20:
            put(store, "weights.bin", bytes(2**20 + 1))
        return asked(place, version, span)

    monkeypatch.setattr(store, "_answer", answer)
    with pytest.raises(MissingObjectError):
        store.download("weights.bin", tmp_path / "got")


def test_a_preflight_leaves_nothing_behind(bucket: str) -> None:
    store = Store.open(f"{bucket}/team/run")
    preflight(store)
    assert store.children() == ([], [])


def test_an_object_is_created_once(bucket: str) -> None:
    store = Store.open(f"{bucket}/team")
    assert store.create("manifest.json", b"first")
    assert not store.create("manifest.json", b"second")
    assert store.get("manifest.json") == b"first"


def test_of_many_who_create_at_once_one_wins(bucket: str) -> None:
    store = Store.open(f"{bucket}/team")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: store.create("claim.json", b"%d" % number), range(32)))
    assert sum(won) == 1
    assert store.get("claim.json") == b"%d" % won.index(True)


def test_objects_are_listed_and_deleted(bucket: str) -> None:
    store = Store.open(f"{bucket}/team")
    for name in ("b", "a", "deep/c"):
        put(store, name, name.encode())
    folders, objects = store.children()
    assert (folders, [info.path for info in objects]) == (["deep"], ["a", "b"])
    store.delete("a")
    store.delete("a")
    with pytest.raises(MissingObjectError):
        store.get("a")
    with pytest.raises(MissingObjectError):
        store.info("a")


@pytest.mark.parametrize("pattern", ["2025-*/*.csv", "**/*.csv"])
def test_a_dataset_is_fetched_by_its_pattern(bucket: str, tmp_path: Path, pattern: str) -> None:
    data = Store.open(bucket)
    for month in ("2025-01", "2025-02"):
        put(data, f"reviews/{month}/rows.csv", month.encode())
    put(data, "reviews/2025-01/notes.txt", b"no data")
    files = fetch_dataset(f"{bucket}/reviews/{pattern}", None, tmp_path)
    assert [(file.uri, file.path.read_text()) for file in files] == [
        (f"{bucket}/reviews/2025-01/rows.csv", "2025-01"),
        (f"{bucket}/reviews/2025-02/rows.csv", "2025-02"),
    ]


def test_a_model_is_fetched_once_and_only_what_is_safe_of_it(bucket: str, tmp_path: Path) -> None:
    folder = Store.open(f"{bucket}/base")
    put(folder, "config.json", b'{"model_type": "bert"}')
    put(folder, "tokenizer.json", b"{}")
    put(folder, "model.safetensors", save({"weight": torch.ones(4)}))
    put(folder, "pytorch_model.bin", b"a pickle")
    seen = fetch_model(f"{bucket}/base", None, tmp_path)
    assert [file.uri for file in seen.files] == [
        f"{bucket}/base/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")
    ]
    inode = (seen.folder / "model.safetensors").stat().st_ino
    again = fetch_model(f"{bucket}/base", None, tmp_path, expect=seen.stored)
    assert (again.folder / "model.safetensors").stat().st_ino == inode
    put(folder, "model.safetensors", save({"weight": torch.zeros(4)}))
    assert fetch_model(f"{bucket}/base", None, tmp_path, expect=seen.stored).files == again.files
    with pytest.raises(RunError, match=r"model\.safetensors is another file now; start again"):
        fetch_model(f"{bucket}/base", None, tmp_path / "another node", expect=seen.stored)


def refuses_what_was_replaced(source: StoreSource, replace: Callable[[], object], tmp_path: Path) -> None:
    """The one object that is listed is fetched, replaced, and then refused."""
    listed = [info for info in source.children()[1] if info.path == "a.csv"]
    assert fetch(source, listed, tmp_path / "before")[0].path.read_bytes() == b"one"
    replace()
    with pytest.raises(RunError) as caught:
        fetch(source, listed, tmp_path / "after")
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        f"{source.uri('a.csv')} changed or went away while it was being read; start the run again."
    )


def test_an_object_replaced_after_the_listing_is_refused(bucket: str, tmp_path: Path) -> None:
    store = Store.open(f"{bucket}/data")
    put(store, "a.csv", b"one")
    refuses_what_was_replaced(StoreSource(store), lambda: put(store, "a.csv", b"two"), tmp_path)


def test_an_object_without_an_etag_is_told_by_its_time(s3: S3Server, tmp_path: Path) -> None:
    store, path = Store.open("s3://models/data"), s3.root / "models/data/a.csv"
    put(store, "b.txt", b"one")
    path.write_bytes(b"one")  # past the server, which has no ETag for it then
    os.utime(path, (1, 1))
    source = StoreSource(store)
    assert "1970" in next(info.version for info in source.children()[1] if info.path == "a.csv")
    refuses_what_was_replaced(source, lambda: os.utime(path, (5, 5)), tmp_path)


def test_a_download_does_not_write_through_a_link_that_an_earlier_try_left(bucket: str, tmp_path: Path) -> None:
    store = Store.open(f"{bucket}/data")
    put(store, "a.csv", b"one")
    precious, folder = tmp_path / "precious", tmp_path / "folder"
    precious.write_bytes(b"not to be touched")
    folder.mkdir()
    (folder / "a.csv").symlink_to(precious)
    source = StoreSource(store)
    assert source.fetch(source.children()[1], folder)[0].path.read_bytes() == b"one"
    assert precious.read_bytes() == b"not to be touched"


def test_a_secret_opens_the_store_by_the_endpoint_of_the_environment(
    server: ObjectServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in server.secret:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    for key, value in server.secret.items():
        (tmp_path / key).write_text(value)
    store = Store.open(f"{bucket}/team", secret=Secret(bucket, tmp_path))
    preflight(store)
    assert store.children() == ([], [])


@pytest.mark.parametrize("server", ["az"], indirect=True)
def test_a_sas_token_opens_as_much_as_it_says(
    server: AzureServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    (tmp_path / "AZURE_STORAGE_ACCOUNT_NAME").write_text(server.secret["AZURE_STORAGE_ACCOUNT_NAME"])
    (tmp_path / "AZURE_STORAGE_SAS_TOKEN").write_text(server.sas_token("rwl"))
    assert Store.open(bucket, secret=Secret(bucket, tmp_path)).create("manifest.json", b"first")
    (tmp_path / "AZURE_STORAGE_SAS_TOKEN").write_text(server.sas_token("rl"))
    store = Store.open(bucket, secret=Secret(bucket, tmp_path))
    assert [info.path for info in store.children()[1]] == ["manifest.json"]
    with pytest.raises(RunError) as caught:
        store.create("other", b"second")
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert str(caught.value) == (
        f"{bucket}/other could not be written: {shown(server)} refused the credentials (they lack the permission);"
        f" check {SCHEMES['az'].keys} in the Secret for {bucket}."
    )


WRONG = [
    pytest.param("s3", "AWS_ACCESS_KEY_ID", "the access key is unknown there", id="s3-a wrong access key"),
    pytest.param(
        "s3", "AWS_SECRET_ACCESS_KEY", "the secret key does not fit the access key", id="s3-a wrong secret key"
    ),
    pytest.param(
        "gs", "GOOGLE_APPLICATION_CREDENTIALS", "the service account or its key is unknown there", id="gs-another's key"
    ),
    pytest.param(
        "az",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "they lack the permission, or the account's firewall keeps this machine out",  # Azurite's code for it
        id="az-a wrong key",
    ),
]


@pytest.mark.parametrize(("server", "variable", "why"), WRONG, indirect=["server"])
def test_wrong_credentials_are_told(
    server: ObjectServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, why: str
) -> None:
    key_file, wrong = tmp_path / "key.json", "c29tZXRoaW5nIHdyb25n"
    key_file.write_text(json.dumps(service_account_key(new_key())))
    monkeypatch.setenv(variable, str(key_file) if variable.startswith("GOOGLE") else wrong)
    with pytest.raises(RunError) as caught:
        preflight(Store.open(f"{bucket}/team"), token="x")
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    refused = f"{shown(server)} refused the credentials ({why}); check {SCHEMES[scheme_of(bucket)].variables}."
    assert str(caught.value) == f"{bucket}/team/.preflight-x could not be written: {refused}"
    for read in (lambda: fetch_dataset(f"{bucket}/*.csv", None, tmp_path), lambda: Store.open(bucket).get("note")):
        with pytest.raises(RunError) as caught:
            read()
        assert caught.value.reason == Reason.CREDENTIALS_REFUSED
        assert refused in str(caught.value)
        assert wrong not in str(caught.value)


def test_a_missing_bucket_is_told(server: ObjectServer, bucket: str, tmp_path: Path) -> None:
    scheme = scheme_of(bucket)
    remedy = f"{shown(server)} has no {SCHEMES[scheme].first_part} elsewhere; create it, or correct the URI."
    with pytest.raises(RunError) as caught:
        preflight(Store.open(f"{scheme}://elsewhere/team"), token="x")
    assert caught.value.reason == Reason.INVALID_MANIFEST
    assert str(caught.value) == f"{scheme}://elsewhere/team/.preflight-x could not be written: {remedy}"
    with pytest.raises(RunError) as caught:
        fetch_dataset(f"{scheme}://elsewhere/team/*.csv", None, tmp_path)
    assert str(caught.value) == f"{scheme}://elsewhere/team could not be listed: {remedy}"


def test_another_region_is_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(RunError) as caught:
        put(Store.open("s3://models"), "note", b"")
    assert str(caught.value) == (
        f"s3://models/note could not be written: {s3.endpoint} says that it is in another region; set AWS_REGION to it."
    )


def test_names_with_signs_come_back_as_they_were(bucket: str) -> None:
    store = Store.open(f"{bucket}/ä team")
    names = sorted(("50% of it.csv", "a+b=c&d.csv", "ü#1?.csv"))
    for name in names:
        put(store, name, os.fsencode(name))
    assert [info.path for info in store.children()[1]] == names
    for name in names:
        assert store.get(name) == os.fsencode(name)
