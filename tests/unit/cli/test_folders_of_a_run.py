"""T9: a folder that a local run needs and cannot write is a sentence with the variable that moves it."""

import tempfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kubetune_api.reasons import Reason
from kubetune_cli.results import failure_of
from kubetune_cli.run import run_job
from support.tiny_models import job_for


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def unwritable_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file))


def unwritable_state(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(file))


def unknown_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", no_home)


def no_temporary_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(file.parent / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(file))


@pytest.mark.parametrize(
    ("spoilt", "begins", "ends"),
    [
        pytest.param(
            unwritable_home,
            "The log {file}/.local/state/kubetune/logs/",
            ".log cannot be written (Not a directory); set XDG_STATE_HOME to a folder that can be written.",
            id="a home that cannot be written",
        ),
        pytest.param(
            unwritable_state,
            "The log {file}/kubetune/logs/",
            ".log cannot be written (Not a directory); set XDG_STATE_HOME to a folder that can be written.",
            id="another folder for the log",
        ),
        pytest.param(
            unknown_home,
            "This user has no home folder for the log of a run;",
            "set HOME, or XDG_STATE_HOME to a folder that can be written.",
            id="a user without a home",
        ),
        pytest.param(
            no_temporary_folder,
            "No temporary folder can be written (Not a directory);",
            "set TMPDIR to a folder that can be written and has room for the trained model.",
            id="no temporary folder",
        ),
    ],
)
def test_a_run_without_its_folder_names_the_variable_that_moves_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoilt: Callable[[Path, pytest.MonkeyPatch], None],
    begins: str,
    ends: str,
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    spoilt(file, monkeypatch)
    out = StringIO()
    finished = run_job(job_for("SequenceClassification"), console=Console(file=out, width=200))
    failure = failure_of(finished.status)
    assert (failure.reason, finished.exit_code) == (Reason.STORAGE_FAILED, 1)
    assert failure.message.startswith(begins.format(file=file))
    assert failure.message.endswith(ends)
    assert failure.message in out.getvalue()
