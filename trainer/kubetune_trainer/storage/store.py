"""The one doorway to object storage: every scheme to which a result may go, behind the same few verbs.

Every path is relative to the URI that the store was opened with. Every failure is a RunError that names the object and
the remedy.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import obstore.exceptions

from kubetune_api.schemes import FILE
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.clients import RetryPolicy, connect
from kubetune_trainer.storage.credentials import Secret
from kubetune_trainer.storage.digests import pieces
from kubetune_trainer.storage.errors import FailedRequest, explain, explain_local, is_missing
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.storage.ranges import write_ranges
from kubetune_trainer.watchdog.pulse import PULSE

_LARGE = 256 * 2**20
"""Bytes; from this size on, an upload takes much memory to be fast."""
_MOST_PARTS = 9_000
"""S3 takes 10,000."""
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before an object is created again that another one is in the way of, and that is not there."""
_STORE_ERRORS = (obstore.exceptions.BaseError, OSError, ValueError)


class MissingObjectError(Exception):
    """The store has no such object. Never leaves the trainer: a caller says what its absence means."""


class GivenUpError(Exception):
    """Nobody wants the object any more. Never leaves the trainer: whoever gave it up knows."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object of a store, as a listing shows it."""

    path: str
    """Relative to the store."""
    size: int
    version: str
    """Changes when the content does: the ETag, or what a file system has in its place; else the time of the change."""


@dataclass(frozen=True)
class Parts:
    """How a file is uploaded: so many bytes a part, so many parts at a time."""

    size: int
    at_once: int

    @classmethod
    def of(cls, size: int, scheme: str) -> Self:
        """For a file of `size` bytes: few parts enough for S3, which takes none smaller than 5 MiB.

        A smaller file goes slowly enough for a slow line; for a larger one there is more patience. A disk gains nothing
        by large parts.
        """
        if size < _LARGE or scheme == FILE:
            return cls(5 * 2**20, 2)
        return cls(max(32 * 2**20, -(-size // _MOST_PARTS)), 12)

    @property
    def in_flight(self) -> int:
        """The most bytes under way at a time."""
        return self.size * self.at_once


class Store:
    """A folder of object storage."""

    def __init__(self, place: Location, policy: RetryPolicy, secret: Secret | None = None) -> None:
        self._place = place
        self._secret = secret
        self._policy = policy
        with self._errors("reached", place):
            self._client = connect(place, policy, secret)

    @classmethod
    def open(cls, uri: str, policy: RetryPolicy | None = None, secret: Secret | None = None) -> Self:
        """The folder at `uri`, opened by the Secret or else by the environment; nothing is asked of the server yet."""
        return cls(Location.parse(uri), policy or RetryPolicy.from_environment(), secret)

    def uri(self, path: str = "") -> str:
        """The full URI of an object."""
        return self._at(path).uri

    def local_path(self, path: str = "") -> Path | None:
        """Where the object lies on this machine; None unless the store is this machine."""
        return self._at(path).path

    def _at(self, path: str) -> Location:
        return self._place.child(path) if path else self._place

    def children(self, path: str = "") -> tuple[list[str], list[ObjectInfo]]:
        """The names of the folders directly below `path`, and the objects there, both sorted."""
        place = self._at(path)
        with self._errors("listed", place):
            found = self._client.list_with_delimiter(place.key or None)
        folders = [Location(place.scheme, place.bucket, prefix.strip("/")).name for prefix in found["common_prefixes"]]
        return sorted(folders), sorted((self._info(meta) for meta in found["objects"]), key=lambda info: info.path)

    def info(self, path: str) -> ObjectInfo:
        """An object as it is now; MissingObjectError if there is none."""
        with self._errors("read", self._at(path)):
            return self._info(self._client.head(self._at(path).key))

    def get(self, path: str) -> bytes:
        """The content of a small object; MissingObjectError if there is none."""
        with self._errors("read", self._at(path)):
            return bytes(self._client.get(self._at(path).key).bytes())

    def pieces(self, path: str) -> Iterator[bytes]:
        """The bytes of an object as they come; MissingObjectError if there is none."""
        place = self._at(path)
        return self._stream(place, self._answer(place, None), PULSE.signs())

    def download(self, path: str, to: Path, version: str | None = None) -> StoredFile:
        """Streams an object into the file `to`, a large one in ranges; its name in the result is the full URI.

        MissingObjectError if there is none, or none of the `version` that is asked for, or no longer the same.
        """
        place, goes_on = self._at(path), PULSE.signs()
        whole = self._answer(place, version)
        size, found = whole.meta["size"], _version(whole.meta)

        def read(start: int, end: int) -> Iterator[bytes]:
            answer = whole if end - start == size else self._answer(place, found, (start, end))
            return self._stream(place, answer, goes_on)

        try:
            with to.open("wb+") as file:
                digest = write_ranges(file.fileno(), size, read)
        except OSError as error:
            raise explain_local(error, str(to), "written") from error
        return StoredFile(place.uri, size, digest)

    def _answer(self, place: Location, version: str | None, span: tuple[int, int] | None = None) -> Any:
        """What the store says when it is asked for an object, or for a span of it; its bytes are yet to come."""
        with self._errors("read", place):
            answer = self._client.get(place.key, options={"range": span} if span else None)
        # Compared here, not asked for by If-Match: Azure quotes an ETag in its answers and not in its listings.
        if version not in (None, _version(answer.meta)):
            raise MissingObjectError(place.uri)
        return answer

    def _stream(self, place: Location, answer: Any, goes_on: Callable[[], None]) -> Iterator[bytes]:
        start, end = answer.range
        with self._errors("read", place):
            for piece in answer.stream():
                goes_on()
                start += len(piece)
                yield memoryview(piece)  # type: ignore[misc]
        if start != end:
            raise MissingObjectError(place.uri)

    def create(self, path: str, data: bytes) -> bool:
        """Writes a small object if there is none of that name, as one atomic step; False if there is another one."""
        place = self._at(path)
        with self._errors("written", place):
            for pause in _PAUSES:
                try:
                    self._client.put(place.key, data, mode="create")
                except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                    # S3 also refuses while another one is being written, which may yet come to nothing.
                    with suppress(FileNotFoundError):
                        # A repeated request may meet what its first try wrote, when only the answer was lost.
                        return bytes(self._client.get(place.key).bytes()) == data
                    time.sleep(pause)
                else:
                    return True
        return False

    def upload(self, file: Path, path: str, given_up: Callable[[], bool] = lambda: False) -> StoredFile:
        """Streams a file into the object `path`; the digest is of the bytes sent, the name in the result is `path`.

        GivenUpError, and no object, where it is given up on the way.
        """
        place, digest, sent, goes_on = self._at(path), hashlib.sha256(), 0, PULSE.signs()

        def read() -> Iterator[bytes]:
            nonlocal sent
            for piece in pieces(file):
                if given_up():
                    raise GivenUpError(f"{place.uri} was given up")
                goes_on()
                digest.update(piece)
                sent += len(piece)
                yield piece

        try:
            size = file.stat().st_size
            parts = Parts.of(size, place.scheme)
            small = b"".join(read()) if size < parts.size else None
        except OSError as error:
            raise explain_local(error, str(file), "read") from error
        with self._errors("written", place):
            if small is not None:
                self._client.put(place.key, small, use_multipart=False)
            else:
                client = connect(self._place, self._policy.for_upload(size, parts.in_flight), self._secret)
                client.put(place.key, read(), chunk_size=parts.size, max_concurrency=parts.at_once)
        return StoredFile(path, sent, digest.hexdigest())

    def delete(self, path: str) -> None:
        """Removes an object; one that is not there is no error."""
        with self._errors("deleted", self._at(path)), suppress(FileNotFoundError):
            self._client.delete(self._at(path).key)

    def _info(self, meta: Any) -> ObjectInfo:
        path = meta["path"].removeprefix(self._place.key).lstrip("/")
        return ObjectInfo(path, meta["size"], _version(meta))

    @contextmanager
    def _errors(self, verb: str, place: Location) -> Iterator[None]:
        try:
            yield
        except _STORE_ERRORS as error:
            if verb == "read" and is_missing(error):
                raise MissingObjectError(place.uri) from None
            # The cause is left out: its text holds access keys and signed URLs.
            raise explain(error, FailedRequest(verb, place, self._policy.response, self._secret)) from None


def _version(meta: Any) -> str:
    """The same from a listing and from the head of an answer, which tells times in whole seconds."""
    tag: str = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    return tag or meta["last_modified"].replace(microsecond=0).isoformat()
