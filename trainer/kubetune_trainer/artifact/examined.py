"""A published run, examined by whoever wants to use its model: every file that the manifest names, and no other.

Each file is streamed once and none is kept, so neither disk nor memory grows with the model.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pydantic.alias_generators import to_camel

from kubetune_api.reasons import Reason
from kubetune_api.run import EXECUTIONS, MANIFEST, MODEL
from kubetune_trainer.artifact.compared import Comparison, compare
from kubetune_trainer.artifact.listing import walk
from kubetune_trainer.artifact.published import Manifest
from kubetune_trainer.artifact.signature import SIGNATURE, key_digest, key_in, public_key, signed_files
from kubetune_trainer.artifact.wholeness import JSON, SAFETENSORS, ModelFolder
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.configs import LARGEST_JSON
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.storage.safetensors_header import FIRST, header_end
from kubetune_trainer.storage.store import MissingObjectError, Store

_WORKING = ("journal", "checkpoints")
"""Folders of an execution that no manifest names."""

_TEXTS = (JSON, SIGNATURE)
"""How the names of files end that are read as a whole."""

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
    signed: bool
    """Whether a signature is there."""
    key: str | None
    """The sha256 of the public key that it was held against."""
    signed_for: str | None
    """The job whose model it is by that key."""
    rejected: bool
    missed: tuple[str, ...]
    """The requirements that it missed."""
    errors: tuple[str, ...]
    """Where it is not what was published, or no whole model."""
    against: Comparison | None = None
    """How it differs from another run."""

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        found = {to_camel(name): value for name, value in asdict(self).items()}
        return found if self.against else {name: value for name, value in found.items() if name != "against"}


def examine(
    uri: str, tell: Tell, digest: str | None = None, key: Path | None = None, against: str | None = None
) -> Examined:
    """Looks at the run that `uri` names: its folder, its manifest, its model or the folder of its execution.

    `digest` is what the manifest must have, `key` a file with a public key, by whose owner the model must be signed;
    `against` names another run in the same ways, of which the manifest alone is read.
    RunError where nothing can be said: no manifest is there, or the store does not let it be read.
    """
    signer = _verifying_key(key) if key is not None else None
    other = _opened(against) if against is not None else None
    store, data, manifest = _opened(uri)
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    errors = []
    if digest not in (None, found):
        errors.append(
            f"{MANIFEST} has the digest {found}, not {digest}: it is another manifest, or somebody changed it"
        )
    stream = _Stream(store, tell)
    errors += stream.errors(manifest, signer)
    model = stream.model
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
        signed=SIGNATURE in model.names,
        key=key_digest(signer) if signer is not None else None,
        signed_for=stream.signed_for,
        rejected=manifest.rejected,
        missed=manifest.missed,
        errors=tuple(errors),
        against=compare(data, other[1], other[0].uri(MANIFEST)) if other else None,
    )


def _opened(uri: str) -> tuple[Store, bytes, Manifest]:
    """The folder of the run, and its manifest: the bytes, and what they say."""
    root, execution = _located(Location.parse(uri))
    store = Store.open(root.uri)
    data = _manifest_in(store)
    manifest = _parsed(store, data)
    if execution not in (None, manifest.execution):
        raise _unpublished(
            f"{uri} is of execution {execution}, which did not publish; {store.uri(MANIFEST)} names"
            f" {manifest.folder}/{MODEL}"
        )
    return store, data, manifest


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
        return Manifest.read(data)
    except ValueError as error:
        raise _unpublished(f"{store.uri(MANIFEST)} is {error}") from None


@dataclass
class _Stream:
    """The files of a run, one after the other, and what they showed."""

    store: Store
    tell: Tell
    total: int = 0
    done: int = 0
    model: ModelFolder = field(default_factory=ModelFolder)
    digests: dict[str, str] = field(default_factory=dict)
    """Of the model's files, by their names below its folder."""
    signature: bytes = b""
    signed_for: str | None = None
    """The name of the model, by the signature."""

    def errors(self, manifest: Manifest, key: EllipticCurvePublicKey | None) -> Iterator[str]:
        """Where the files are not those that the manifest names and the key has signed, or no whole model."""
        yield from self._file_errors(manifest)
        yield from (f"{MODEL}: {error}" for error in self.model.errors())
        if key is not None:
            yield from (f"{MODEL}/{SIGNATURE}: {error}" for error in _signature_errors(self, key, manifest.job))

    def _file_errors(self, manifest: Manifest) -> Iterator[str]:
        there = {info.path: info.size for info in walk(self.store, manifest.folder)}
        named = {file.path: StoredFile(file.path, file.size, file.sha256) for file in manifest.files}
        if len(named) < len(manifest.files):
            yield f"{MANIFEST} names a file twice"
        self.total = sum(there.get(name, 0) for name in named)
        for name, file in sorted(named.items()):
            if not name.startswith(f"{manifest.folder}/"):
                yield f"{name} lies outside of {manifest.folder}, where the files of this execution are"
            elif why := self._error_of(file, f"{manifest.folder}/{MODEL}/"):
                yield f"{name} {why}"
        working = tuple(f"{manifest.folder}/{folder}/" for folder in _WORKING)
        for name in sorted(there.keys() - named.keys()):
            if not name.startswith(working):
                yield f"{name} is there, but {MANIFEST} does not name it: it was not published"

    def _error_of(self, file: StoredFile, folder: str) -> str | None:
        """Why a file is not the published one; `folder` is that of the model."""
        try:
            got, beginning = self._file(file.name)
        except MissingObjectError:
            return "is missing"
        if file.name.startswith(folder):
            name = file.name.removeprefix(folder)
            self.model.add(name, got.size, beginning)
            self.digests[name] = got.sha256
            self.signature = beginning if name == SIGNATURE else self.signature
        return _difference(got, file)

    def _file(self, name: str) -> tuple[StoredFile, bytes]:
        """What came, and its beginning: the whole text of JSON, the header of weights."""
        kept, digest, before = _Kept(name), hashlib.sha256(), self.done
        for piece in self.store.pieces(name):
            digest.update(piece)
            kept.add(piece)
            self.done += len(piece)
            self.tell(name, self.done, self.total)
        return StoredFile(name, self.done - before, digest.hexdigest()), bytes(kept.beginning)


def _difference(got: StoredFile, published: StoredFile) -> str | None:
    if got.size < published.size:
        return f"is cut: it has {got.size:,} of {published.size:,} bytes"
    if got.size > published.size:
        return f"has {got.size:,} bytes, and {published.size:,} were published"
    return None if got.sha256 == published.sha256 else "has other bytes than were published"


def _verifying_key(file: Path) -> EllipticCurvePublicKey:
    try:
        return key_in(file, public_key)
    except ValueError as error:
        why = f"The key {file} cannot verify a signature: {error}."
        raise RunError(Reason.INVALID_MANIFEST, why) from None


def _signature_errors(stream: _Stream, key: EllipticCurvePublicKey, job: str | None) -> Iterator[str]:
    """Whether the files that came are those that the owner of the key has signed, as the model of the same job."""
    if SIGNATURE not in stream.digests:
        yield "the model is not signed"
        return
    try:
        stream.signed_for, signed = signed_files(stream.signature, key)
    except ValueError as error:
        yield f"it is not valid: {error}"
        return
    if job is not None and stream.signed_for != job:
        yield f"it is of a model of the job {stream.signed_for}, and {MANIFEST} of the job {job}"
    came = {name: sha256 for name, sha256 in stream.digests.items() if name != SIGNATURE}
    for name in sorted(signed.keys() | came.keys()):
        if name not in signed:
            yield f"{name} is not signed"
        elif signed[name] != came.get(name):
            yield f"{name} is another file than was signed" if name in came else f"{name} was signed and is missing"


class _Kept:
    """What is looked at of a file that streams by."""

    def __init__(self, name: str) -> None:
        self.beginning = bytearray()
        self._before_header = name.endswith(SAFETENSORS)
        self._wanted = FIRST if self._before_header else LARGEST_JSON if name.endswith(_TEXTS) else 0

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
