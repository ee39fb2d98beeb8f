"""Fetched inputs on this machine's disk: one download per machine, whatever the number of workers on it."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from kubetune_trainer.records import LocalFile
from kubetune_trainer.storage.faults import explain_local

_LISTING = ".files.json"
"""Written last into a complete folder: what it holds, with digests, so that they are computed once."""

Fill = Callable[[Path], list[LocalFile]]
"""Brings files into the given folder and says what it brought."""


def kept(into: Path, identity: object, fill: Fill) -> list[LocalFile]:
    """The files that `identity` (URIs, sizes, versions) names, in a folder of their own below `into`.

    The first who asks fills it, others wait. What a killed process left unfinished is begun anew in the same place.
    """
    key = sha256(json.dumps(identity).encode()).hexdigest()[:32]
    folder = into / key
    try:
        into.mkdir(parents=True, exist_ok=True)
        with FileLock(into / f"{key}.lock"):
            if not folder.exists():
                _fill(folder, fill)
        return _read(folder)
    except OSError as error:
        raise explain_local(error, str(error.filename or folder), "written") from error


def _fill(folder: Path, fill: Fill) -> None:
    unfinished = folder.with_suffix(".unfinished")
    unfinished.mkdir(exist_ok=True)
    entries = [asdict(replace(file, path=file.path.relative_to(unfinished))) for file in fill(unfinished)]
    (unfinished / _LISTING).write_text(json.dumps(entries, default=str))
    unfinished.rename(folder)


def _read(folder: Path) -> list[LocalFile]:
    entries = json.loads((folder / _LISTING).read_text())
    return [LocalFile(**{**entry, "path": folder / entry["path"]}) for entry in entries]
