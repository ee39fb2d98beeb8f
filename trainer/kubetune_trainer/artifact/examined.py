"""A published run, examined by whoever wants to use its model: every file that the manifest names, and no other.

Each file is streamed once and none is kept, so neither disk nor memory grows with the model.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from kubetune_api.reasons import Reason
from kubetune_api.run import EXECUTIONS, MANIFEST
from kubetune_trainer.artifact.listing import walk
from kubetune_trainer.artifact.published import Manifest
from kubetune_trainer.artifact.wholeness import JSON, SAFETENSORS, ModelFolder
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.configs import LARGEST_JSON
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.storage.safetensors_header import FIRST, header_end
from kubetune_trainer.storage.store import MissingObjectError, Store

MODEL = "model"
"""The folder of the model, relative to that of the execution."""
_WORKING = ("journal", "checkpoints")
"""Folders of an execution that no manifest names."""

Tell = Callable[[str, int, int], None]
"""Told, as bytes come: the file, the bytes so far, and those that there are in all."""


@dataclass(frozen=True)
class Examined:
    """What was found of a published run."""

    uri: str
    """The folder of the model."""
    manifest_uri: str
    digest: str
    run: str
    execution: int
    files: int
    size_bytes: int
    adapter: bool
    types: Mapping[str, int]
    """How many numbers of the model there are of each type."""
    rejected: bool
    missed: tuple[str, ...]
    """The requirements that it missed."""
    errors: tuple[str, ...]
    """Where it is not what was published, or no whole model."""

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {to_camel(field.name): getattr(self, field.name) for field in fields(self)}


def examine(uri: str, tell: Tell, digest: str | None = None) -> Examined:
    """Looks at the run that `uri` names: its folder, its manifest, its model or the folder of its execution.

    `digest` is what the manifest must have. RunError where nothing can be said: no manifest is there, or the store does
    not let it be read.
    """
    root, execution = _located(Location.parse(uri))
    store = Store.open(root.uri)
    data = _manifest_in(store)
    manifest, found = _parsed(store, data), f"sha256:{hashlib.sha256(data).hexdigest()}"
    if execution not in (None, manifest.execution):
        raise _unpublished(
            f"{uri} is of execution {execution}, which did not publish; {store.uri(MANIFEST)} names"
            f" {manifest.folder}/{MODEL}"
        )
    errors = []
    if digest not in (None, found):
        errors.append(
            f"{MANIFEST} has the digest {found}, not {digest}: it is another manifest, or somebody changed it"
        )
    model = ModelFolder()
    errors += _file_errors(store, manifest, model, tell)
    errors += (f"{MODEL}: {error}" for error in model.errors())
    return Examined(
        uri=store.uri(f"{manifest.folder}/{MODEL}"),
        manifest_uri=store.uri(MANIFEST),
        digest=found,
        run=manifest.run,
        execution=manifest.execution,
        files=len(manifest.files),
        size_bytes=sum(file.size for file in manifest.files),
        adapter=model.is_adapter,
        types=model.types,
        rejected=manifest.rejected,
        missed=manifest.missed,
        errors=tuple(errors),
    )


def _located(place: Location) -> tuple[Location, int | None]:
    """The folder of the run, and the execution where the place is one's."""
    if place.name == MANIFEST:
        return place.parent, None
    execution = place.parent if place.name == MODEL else place
    if execution.parent.name == EXECUTIONS and execution.name.isdecimal():
        return execution.parent.parent, int(execution.name)
    return place, None


def _manifest_in(store: Store) -> bytes:
    try:
        if store.info(MANIFEST).size > LARGEST_JSON:
            raise _unpublished(f"{store.uri(MANIFEST)} is too large for a manifest")
        return store.get(MANIFEST)
    except MissingObjectError:
        raise _unpublished(
            f"There is no {store.uri(MANIFEST)}: no run was published there; name the folder of a run, its {MANIFEST},"
            " or the URI of the model that the run printed"
        ) from None


def _parsed(store: Store, data: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        at = ".".join(map(str, error.errors()[0]["loc"])) or "the whole of it"
        raise _unpublished(f"{store.uri(MANIFEST)} is not a manifest of kubetune ({at} is wrong)") from None


def _file_errors(store: Store, manifest: Manifest, model: ModelFolder, tell: Tell) -> Iterator[str]:
    """The errors of the files of the execution; those of the model go to `model`."""
    there = {info.path: info.size for info in walk(store, manifest.folder)}
    named = {file.path: StoredFile(file.path, file.size, file.sha256) for file in manifest.files}
    if len(named) < len(manifest.files):
        yield f"{MANIFEST} names a file twice"
    stream = _Stream(store, tell, sum(there.get(name, 0) for name in named))
    for name, file in sorted(named.items()):
        if not name.startswith(f"{manifest.folder}/"):
            yield f"{name} lies outside of {manifest.folder}, where the files of this execution are"
            continue
        try:
            got, beginning = stream.file(name)
        except MissingObjectError:
            yield f"{name} is missing"
            continue
        if why := _difference(got, file):
            yield f"{name} {why}"
        if name.startswith(f"{manifest.folder}/{MODEL}/"):
            model.add(name.removeprefix(f"{manifest.folder}/{MODEL}/"), got.size, beginning)
    working = tuple(f"{manifest.folder}/{folder}/" for folder in _WORKING)
    for name in sorted(there.keys() - named.keys()):
        if not name.startswith(working):
            yield f"{name} is there, but {MANIFEST} does not name it: it was not published"


def _difference(got: StoredFile, published: StoredFile) -> str | None:
    if got.size < published.size:
        return f"is cut: it has {got.size:,} of {published.size:,} bytes"
    if got.size > published.size:
        return f"has {got.size:,} bytes, and {published.size:,} were published"
    return None if got.sha256 == published.sha256 else "has other bytes than were published"


@dataclass
class _Stream:
    """The files of a run, one after the other."""

    store: Store
    tell: Tell
    total: int
    done: int = 0

    def file(self, name: str) -> tuple[StoredFile, bytes]:
        """What came, and its beginning: a JSON file's whole text, the header of weights."""
        kept, digest, before = _Kept(name), hashlib.sha256(), self.done
        for piece in self.store.pieces(name):
            digest.update(piece)
            kept.add(piece)
            self.done += len(piece)
            self.tell(name, self.done, self.total)
        return StoredFile(name, self.done - before, digest.hexdigest()), bytes(kept.beginning)


class _Kept:
    """What is looked at of a file that streams by."""

    def __init__(self, name: str) -> None:
        self.beginning = bytearray()
        self._before_header = name.endswith(SAFETENSORS)
        self._wanted = FIRST if self._before_header else LARGEST_JSON if name.endswith(JSON) else 0

    def add(self, piece: bytes) -> None:
        """The next bytes of the file."""
        rest = self._take(piece)
        if self._before_header and len(self.beginning) == FIRST:
            self._before_header = False
            with suppress(ValueError):  # the model's folder says so
                self._wanted = header_end(bytes(self.beginning))
            self._take(rest)

    def _take(self, piece: bytes) -> bytes:
        """Keeps what is wanted of it, and returns the rest."""
        wanted = self._wanted - len(self.beginning)
        self.beginning += piece[:wanted]
        return piece[wanted:]


def _unpublished(why: str) -> RunError:
    return RunError(Reason.INVALID_MANIFEST, f"{why}.")
