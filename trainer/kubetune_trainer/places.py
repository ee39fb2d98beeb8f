"""The folders of this machine that a run needs: tried before its first minute is spent, and each can be moved."""

import os
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError

CACHE = "KUBETUNE_CACHE"
"""The variable for the folder of fetched models and data."""


def usable_folders(cache: Path | None) -> Path:
    """The folder for fetched models and data; RunError if it, or the temporary folder, cannot be written."""
    refuse_no_temporary_folder()
    return cache_folder(cache)


def cache_folder(named: Path | None) -> Path:
    """The folder for fetched models and data, which can be written: what is named, or what the variable says."""
    try:
        folder = named or Path(os.environ.get(CACHE) or Path.home() / ".cache" / "kubetune")
    except RuntimeError:
        raise _unusable("This user has no home folder for the cache of models and data", "HOME, or " + CACHE) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        why = error.strerror or error
        raise _unusable(f"{folder}, the cache of models and data, cannot be written ({why})", CACHE) from None


def refuse_no_temporary_folder() -> None:
    """Raises if there is no folder for temporary files."""
    try:
        with TemporaryFile(dir=gettempdir()):
            return
    except OSError as error:
        raise _unusable(f"No temporary folder can be written ({error.strerror or error})", "TMPDIR") from None


def _unusable(why: str, variable: str) -> RunError:
    return RunError(Reason.STORAGE_FAILED, f"{why}; set {variable} to a folder that can be written.")
