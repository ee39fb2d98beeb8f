"""Where a local run keeps what is not its result."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UnusablePlaceError(Exception):
    """A folder that a run needs cannot be written; the message names the variable that moves it."""


def log_file(name: str, run_id: str) -> Path:
    """The file for Ray's and DeepSpeed's own output of a run; it is there and can be written."""
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    except RuntimeError:
        raise UnusablePlaceError(
            "This user has no home folder for the log of a run; set HOME, or XDG_STATE_HOME to a folder that can be"
            " written."
        ) from None
    file = state / "kubetune" / "logs" / f"{name}-{run_id}.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise UnusablePlaceError(
            f"The log {file} cannot be written ({error.strerror or error}); set XDG_STATE_HOME to a folder that can be"
            " written."
        ) from None
    return file


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the temporary files of a run, removed afterwards."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="kt-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UnusablePlaceError(
            f"No temporary folder can be written ({error.strerror or error}); set TMPDIR to a folder that can be"
            " written and has room for the trained model."
        ) from None
    with folder as name:
        yield Path(name)
