"""Two published runs side by side, by what their manifests record: which files of the models are equal, and why others
may not be.

A job that runs again gives the same files where what it reads, what ran it and the hardware are the same.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubetune_api.run import MODEL
from kubetune_api.text import elide
from kubetune_trainer.artifact.published import Manifest
from kubetune_trainer.artifact.signature import SIGNATURE

_FILES = "files"
_NO_INPUTS = ("startTime", "completionTime", "steps", "job.metadata", "job.spec.output")
"""What each run has of its own."""


@dataclass(frozen=True)
class Comparison:
    """How a run differs from another one."""

    uri: str
    """The manifest of the other one."""
    equal: tuple[str, ...]
    """Files that both models have, byte for byte; names are relative to the model."""
    different: tuple[str, ...]
    """Files that they do not, each with what is so."""
    inputs: tuple[str, ...]
    """What was recorded of the runs and differs."""


def compare(ours: bytes, theirs: bytes, uri: str) -> Comparison:
    """Our run beside the one whose manifest is at `uri`; both are texts of manifests."""
    here, there = (_model(Manifest.model_validate_json(data)) for data in (ours, theirs))
    inputs = _other_inputs(*(json.loads(data)["provenance"] for data in (ours, theirs)))
    equal = sorted(name for name, sha256 in here.items() if there.get(name) == sha256)
    return Comparison(
        uri=uri,
        equal=tuple(equal),
        different=tuple(_how(name, here, there) for name in sorted((here.keys() | there.keys()) - set(equal))),
        inputs=tuple(inputs),
    )


def _model(manifest: Manifest) -> dict[str, str]:
    """The digests of the model's files. A signature is another one each time."""
    folder = f"{manifest.folder}/{MODEL}/"
    named = {file.path.removeprefix(folder): file.sha256 for file in manifest.files if file.path.startswith(folder)}
    return {name: sha256 for name, sha256 in named.items() if name != SIGNATURE}


def _how(name: str, here: dict[str, str], there: dict[str, str]) -> str:
    if name in here and name in there:
        return f"{name} has other bytes"
    return f"{name} is only {'here' if name in here else 'there'}"


def _other_inputs(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Each recorded value that differs, by its path."""
    if ours == theirs or path in _NO_INPUTS:
        return
    if isinstance(ours or theirs, dict) and isinstance(theirs or ours, dict):
        here, there = ours or {}, theirs or {}
        for name in sorted(here.keys() | there.keys()):
            yield from _other_inputs(here.get(name), there.get(name), f"{path}.{name}" if path else name)
    elif path.endswith(f".{_FILES}"):
        if _digests(ours) != _digests(theirs):
            yield f"{path}: other bytes were read"
    else:
        yield f"{path}: {_shown(ours)} here, {_shown(theirs)} there"


def _digests(files: Any) -> list[Any]:
    """Those of the files that were read, wherever they lay."""
    found = files if isinstance(files, list) else []
    return [file.get("sha256") if isinstance(file, dict) else None for file in found]


def _shown(value: Any) -> str:
    return "nothing" if value is None else elide(str(value))
