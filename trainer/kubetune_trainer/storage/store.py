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

from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.clients import RetryPolicy, connect
from kubetune_trainer.storage.credentials import Secret
from kubetune_trainer.storage.digests import pieces
from kubetune_trainer.storage.errors import FailedRequest, explain, explain_local, is_missing
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.watchdog.pulse import PULSE

_PART = 5 * 2**20
"""Bytes of the smallest part of an upload: the least that S3 takes."""
_MOST_PARTS = 9_000
"""S3 takes 10,000."""
_PARTS_AT_ONCE = 2
"""Few enough that a slow line gets its parts through in time."""
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


def part_size(size: int) -> int:
    """The bytes of each part of an upload of `size` bytes: few parts enough for S3, small enough for a slow line."""
    return max(_PART, -(-size // _MOST_PARTS))


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
        return self._stream(self._at(path), None)

    def download(self, path: str, to: Path, version: str | None = None) -> StoredFile:
        """Streams an object into the file `to`; its name in the result is the full URI.

        MissingObjectError if there is none, or none of the `version` that is asked for.
        """
        place, digest, size = self._at(path), hashlib.sha256(), 0
        try:
            with to.open("wb") as file:
                for piece in self._stream(place, version):
                    digest.update(piece)
                    size += file.write(piece)
        except OSError as error:
            raise explain_local(error, str(to), "written") from error
        return StoredFile(place.uri, size, digest.hexdigest())

    def _stream(self, place: Location, version: str | None) -> Iterator[bytes]:
        with self._errors("read", place):
            answer = self._client.get(place.key)
            # Compared here, not asked for by If-Match: Azure quotes an ETag in its answers and not in its listings.
            if version not in (None, _version(answer.meta)):
                raise MissingObjectError(place.uri)
            goes_on = PULSE.signs()
            for piece in answer.stream():
                goes_on()
                yield memoryview(piece)  # type: ignore[misc]

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
            small = b"".join(read()) if size < _PART else None
        except OSError as error:
            raise explain_local(error, str(file), "read") from error
        with self._errors("written", place):
            if small is not None:
                self._client.put(place.key, small, use_multipart=False)
            else:
                client = connect(self._place, self._policy.for_bytes(size), self._secret)
                client.put(place.key, read(), chunk_size=part_size(size), max_concurrency=_PARTS_AT_ONCE)
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
