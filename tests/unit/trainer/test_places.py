"""T9: the folders of the trainer are tried first, and an error names the variable that moves them."""

import tempfile
from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.places import cache_folder, refuse_no_temporary_folder


def test_the_cache_is_where_the_variable_says_and_else_below_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBETUNE_CACHE", raising=False)
    assert cache_folder(None) == tmp_path / ".cache" / "kubetune"
    monkeypatch.setenv("KUBETUNE_CACHE", str(tmp_path / "moved"))
    assert cache_folder(None) == tmp_path / "moved"
    assert cache_folder(tmp_path / "named") == tmp_path / "named"


def test_a_cache_that_cannot_be_written_names_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("HOME", str(file))
    monkeypatch.delenv("KUBETUNE_CACHE", raising=False)
    with pytest.raises(RunError) as caught:
        cache_folder(None)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        f"{file}/.cache/kubetune, the cache of models and data, cannot be written (Not a directory); set KUBETUNE_CACHE"
        " to a folder that can be written."
    )


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("KUBETUNE_CACHE", raising=False)
    with pytest.raises(RunError, match="set HOME, or KUBETUNE_CACHE to a folder that can be written"):
        cache_folder(None)


def test_no_temporary_folder_names_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(RunError, match=r"No temporary folder can be written \(.*\); set TMPDIR to a folder"):
        refuse_no_temporary_folder()
