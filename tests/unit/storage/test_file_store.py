"""The doorway to storage, over a local folder."""

import hashlib
import os
from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.store import MissingObjectError, ObjectInfo, Parts, Store
from kubetune_trainer.watchdog.pulse import PULSE, UPLOADING
from support.small_disk import files_of_at_most
from support.stores import put

LARGE = 12 * 2**20 + 7
"""Bytes; more than two parts."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "a store").as_uri())


@pytest.mark.parametrize("size", [0, 1, LARGE], ids=["an empty file", "a small file", "a file of several parts"])
def test_an_uploaded_file_comes_back_with_the_same_digest(store: Store, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "sent").write_bytes(content)
    sent = store.upload(tmp_path / "sent", "folder/object.bin")
    got = store.download("folder/object.bin", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == content
    assert (sent.name, sent.size, sent.sha256) == ("folder/object.bin", size, hashlib.sha256(content).hexdigest())
    assert (got.name, got.size, got.sha256) == (store.uri("folder/object.bin"), size, sent.sha256)


def test_each_piece_is_a_sign_that_something_moves(store: Store, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(bytes(LARGE))
    PULSE.mark(UPLOADING)
    marked = PULSE.last.changes
    store.upload(tmp_path / "sent", "object")
    sent = PULSE.last.changes
    store.download("object", tmp_path / "got")
    assert marked + 1 < sent < PULSE.last.changes
    assert PULSE.last.doing == UPLOADING


def test_an_object_is_created_once(store: Store) -> None:
    assert store.create("claim.json", b"mine")
    assert not store.create("claim.json", b"yours")
    assert store.get("claim.json") == b"mine"


def test_creating_the_same_again_counts_as_a_repeated_request(store: Store) -> None:
    assert store.create("claim.json", b"mine")
    assert store.create("claim.json", b"mine")


def test_an_upload_replaces(store: Store) -> None:
    put(store, "note", b"old")
    put(store, "note", b"new")
    assert store.get("note") == b"new"


def test_children_are_one_level_and_sorted(store: Store) -> None:
    for name in ("b.csv", "a.csv", "deep/er/c.csv", "also/d.csv"):
        put(store, name, name.encode())
    folders, objects = store.children()
    assert folders == ["also", "deep"]
    assert [(info.path, info.size) for info in objects] == [("a.csv", 5), ("b.csv", 5)]
    assert [info.path for info in store.children("deep/er")[1]] == ["deep/er/c.csv"]
    assert store.children("nowhere") == ([], [])


def test_the_version_of_an_object_changes_with_its_content(store: Store) -> None:
    def version() -> ObjectInfo:
        return store.children()[1][0]

    put(store, "note", b"old")
    before = version()
    put(store, "note", b"new!")
    assert version().version != before.version


@pytest.mark.parametrize("path", ["nothing", "folder"])
def test_a_missing_object_or_a_folder_is_missing(store: Store, tmp_path: Path, path: str) -> None:
    put(store, "folder/file", b"")
    with pytest.raises(MissingObjectError):
        store.get(path)
    with pytest.raises(MissingObjectError):
        store.download(path, tmp_path / "got")


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    put(store, "note", b"")
    store.delete("note")
    store.delete("note")
    assert store.children() == ([], [])


def test_no_path_leads_out_of_the_store(store: Store) -> None:
    with pytest.raises(RunError, match="write the path in full"):
        put(store, "../elsewhere", b"")


def test_a_file_on_the_way_is_told(store: Store) -> None:
    put(store, "note", b"")
    with pytest.raises(RunError) as caught:
        put(store, "note/below", b"")
    assert str(caught.value) == (
        f"{store.uri('note/below')} could not be written: a part of the path is a file, not a folder; correct the path."
    )


def test_a_full_disk_under_a_download_is_told(store: Store) -> None:
    put(store, "note", b"words")
    with pytest.raises(RunError) as caught:
        store.download("note", Path("/dev/full"))
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        "/dev/full could not be written: no space is left on the device; free some, or choose another place."
    )


def test_a_file_beyond_the_limit_is_told_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(bytes(LARGE))
    put(store, "before", b"")
    with files_of_at_most(2**20), pytest.raises(RunError) as caught:
        store.upload(tmp_path / "sent", "object.bin")
    assert str(caught.value) == (
        f"{store.uri('object.bin')} could not be written:"
        " the file is larger than this system's limit for a file (see ulimit -f)."
    )
    assert [path.name for path in (tmp_path / "a store").iterdir()] == ["before"]


@pytest.mark.parametrize("size", [0, 2**20, 50 * 10**9, 80 * 10**9, 5 * 10**12], ids="{:,} bytes".format)
def test_an_upload_of_any_size_keeps_to_the_limits_of_s3(size: int) -> None:
    parts = Parts.of(size, "s3")
    assert 5 * 2**20 <= parts.size <= 5 * 2**30
    assert -(-size // parts.size) <= 10_000


def test_large_files_go_in_many_large_parts_and_small_ones_in_few_that_a_slow_line_takes() -> None:
    assert Parts.of(4 * 10**9, "s3") == Parts(32 * 2**20, 12)
    assert Parts.of(10**8, "s3") == Parts.of(4 * 10**9, "file") == Parts(5 * 2**20, 2)
