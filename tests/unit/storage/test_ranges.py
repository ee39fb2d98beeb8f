"""Objects that are fetched in ranges, from a store in which they may change meanwhile."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage import ranges
from kubetune_trainer.storage.ranges import write_ranges
from kubetune_trainer.storage.store import MissingObjectError, Store
from kubetune_trainer.watchdog.pulse import PULSE, UPLOADING
from support.small_disk import files_of_at_most
from support.stores import put

RANGE = 2**16
CONTENT = os.urandom(5 * RANGE + 7)


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE", RANGE)


def test_an_object_of_many_ranges_is_the_same_on_the_disk(store: Store, tmp_path: Path) -> None:
    put(store, "weights", CONTENT)
    got = store.download("weights", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert (got.size, got.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def test_each_range_is_a_sign_of_the_thread_that_waits_for_them(store: Store, tmp_path: Path) -> None:
    put(store, "weights", CONTENT)
    PULSE.mark(UPLOADING)
    marked = PULSE.last.changes
    store.download("weights", tmp_path / "got")
    assert PULSE.last.changes >= marked + 6


def test_ranges_that_come_in_another_order_are_put_together_in_theirs(tmp_path: Path) -> None:
    def read(start: int, end: int) -> Iterator[bytes]:
        for at in range(start, end, 1000):
            yield CONTENT[at : min(at + 1000, end)]

    with (tmp_path / "file").open("wb+") as file:
        assert write_ranges(file.fileno(), len(CONTENT), read) == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("changed", [bytes(len(CONTENT)), b"short"], ids=["other bytes", "fewer bytes"])
def test_an_object_that_changes_between_two_ranges_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bytes
) -> None:
    put(store, "weights", CONTENT)
    asked = store._answer

    def answer(place: object, version: str | None, span: tuple[int, int] | None = None) -> object:
        if span and span[0] == 3 * RANGE:
            put(store, "weights", changed)
        return asked(place, version, span)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_answer", answer)
    # Of what became shorter, there is no such range.
    with pytest.raises((MissingObjectError, RunError)):
        store.download("weights", tmp_path / "got")


def test_a_disk_that_fills_up_on_the_way_is_told(store: Store, tmp_path: Path) -> None:
    put(store, "weights", CONTENT)
    with files_of_at_most(2 * RANGE), pytest.raises(RunError) as caught:
        store.download("weights", tmp_path / "got")
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert "the file is larger than this system's limit for a file" in str(caught.value)
