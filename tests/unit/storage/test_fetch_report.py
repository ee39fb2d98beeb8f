"""S12: a report is shown only if it is the one that the job's manifest names."""

import hashlib
import json
from pathlib import Path

import pytest

from kubetune_trainer.fetch import Named, fetch

PAGE = b"<!doctype html><title>reviews</title>"
REPORT, MANIFEST = "executions/1/report.html", "manifest.json"


def published(root: Path, page: bytes = PAGE) -> Named:
    """A run's report and manifest in a store, and how the job's status names the manifest."""
    files = [{"path": REPORT, "size": len(page), "sha256": hashlib.sha256(page).hexdigest()}]
    text = json.dumps({"files": files}).encode()
    for path, data in ((REPORT, page), (MANIFEST, text)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return Named((root / MANIFEST).as_uri(), f"sha256:{hashlib.sha256(text).hexdigest()}")


def test_the_report_that_the_manifest_names_is_fetched(tmp_path: Path) -> None:
    store, file = tmp_path / "store", tmp_path / "report.html"
    assert fetch((store / REPORT).as_uri(), file, published(store)) is None
    assert file.read_bytes() == PAGE


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param({REPORT: b"<script>"}, REPORT, id="the report"),
        pytest.param({REPORT: b"<script>", MANIFEST: b'{"files": []}'}, MANIFEST, id="the manifest as well"),
    ],
)
def test_a_report_that_somebody_changed_is_not_shown(tmp_path: Path, change: dict[str, bytes], names: str) -> None:
    store, file = tmp_path / "store", tmp_path / "report.html"
    manifest = published(store)
    for path, data in change.items():
        (store / path).write_bytes(data)
    error = fetch((store / REPORT).as_uri(), file, manifest)
    assert error is not None
    assert error.startswith(f"{(store / names).as_uri()} is not what the run published (")
    assert not file.exists()


def test_a_file_that_the_manifest_does_not_name_is_not_shown(tmp_path: Path) -> None:
    store = tmp_path / "store"
    manifest = published(store)
    (store / "other.html").write_bytes(PAGE)
    error = fetch((store / "other.html").as_uri(), tmp_path / "report.html", manifest)
    assert error is not None
    assert "says nothing of it" in error


def test_a_manifest_that_was_deleted_is_told_by_its_name(tmp_path: Path) -> None:
    store = tmp_path / "store"
    manifest = published(store)
    (store / MANIFEST).unlink()
    assert fetch((store / REPORT).as_uri(), tmp_path / "report.html", manifest) == (
        f"There is nothing at {manifest.uri}; was it deleted since?"
    )
