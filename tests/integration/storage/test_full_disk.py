"""A real disk without space left."""

from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.artifact.publish import preflight
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import Store
from support.small_disk import disk_of


def test_a_full_output_is_told_and_holds_no_half_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(bytes(12 * 2**20))
    with disk_of(4 * 2**20, tmp_path / "disk") as disk:
        store = Store.open(disk.as_uri())
        preflight(store)
        with pytest.raises(RunError) as caught:
            store.upload(tmp_path / "sent", "model/weights.bin")
        assert caught.value.reason == Reason.STORAGE_FAILED
        assert str(caught.value) == (
            f"{disk.as_uri()}/model/weights.bin could not be written:"
            " no space is left on the device; free some, or choose another place."
        )
        assert [path for path in disk.rglob("*") if path.is_file()] == []


def test_a_full_cache_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n")
    with disk_of(2**20, tmp_path / "disk") as disk:
        with (disk / "filler").open("wb", buffering=0) as filler:
            filler.write(bytes(2**21))  # as much of it as there is room for
        with pytest.raises(RunError) as caught:
            fetch_dataset((tmp_path / "rows.csv").as_uri(), None, disk / "cache")
        assert caught.value.reason == Reason.STORAGE_FAILED
        assert "no space is left on the device; free some, or choose another place." in str(caught.value)
