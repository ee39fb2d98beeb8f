"""Fetched inputs on this machine's disk: one download per machine, whatever the number of workers on it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from kubetune_trainer.records import LocalFile
from kubetune_trainer.storage.errors import explain_local

_LISTING = ".listing.json"
"""Written last into a complete folder: what it holds, with digests, so that they are computed once."""

Fill = Callable[[Path], list[LocalFile]]
"""Brings files into the given folder and says what it brought."""


def fetch_once(into: Path, identity: object, fill: Fill) -> list[LocalFile]:
    """The files that `identity` (URIs, sizes, versions or digests) names, in a folder of their own below `into`.

    The first who asks fills it, others wait. What a killed process left unfinished is begun anew in the same place, and
    so is a folder of which a file is no longer what it was: those of `file://` are links.
    """
    key = sha256(json.dumps(identity).encode()).hexdigest()[:32]
    folder = into / key
    try:
        into.mkdir(parents=True, exist_ok=True)
        with FileLock(into / f"{key}.lock"):
            return _read(folder) or _filled(folder, fill)
    except OSError as error:
        raise explain_local(error, str(error.filename or folder), "written") from error


def _filled(folder: Path, fill: Fill) -> list[LocalFile]:
    unfinished = folder.with_suffix(".unfinished")
    unfinished.mkdir(exist_ok=True)
    files = [replace(file, path=file.path.relative_to(unfinished)) for file in fill(unfinished)]
    entries = [{"file": asdict(file), "state": _state(unfinished / file.path)} for file in files]
    (unfinished / _LISTING).write_text(json.dumps(entries, default=str))
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)
    return [replace(file, path=folder / file.path) for file in files]


def _read(folder: Path) -> list[LocalFile]:
    """What the folder holds; nothing if it is not there, or not as it was filled."""
    try:
        entries = json.loads((folder / _LISTING).read_text())
        files = [LocalFile(**{**entry["file"], "path": folder / entry["file"]["path"]}) for entry in entries]
        changed = [file for file, entry in zip(files, entries, strict=True) if _state(file.path) != entry["state"]]
    except FileNotFoundError:
        return []
    return [] if changed else files


def _state(path: Path) -> str:
    """Changes when the file does, or the file that it links to."""
    status = path.stat()
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
