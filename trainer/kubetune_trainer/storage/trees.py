"""Trees of files to fetch from, whichever store or hub they are in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kubetune_api.reasons import Reason
from kubetune_api.schemes import HUB, scheme_of
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import LocalFile
from kubetune_trainer.storage.cache import fetch_once
from kubetune_trainer.storage.credentials import ENVIRONMENT, StoreCredentials
from kubetune_trainer.storage.digests import sha256_of
from kubetune_trainer.storage.errors import explain_local
from kubetune_trainer.storage.hub import HubRepository
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.storage.store import MissingObjectError, ObjectInfo, Store


class Source(Protocol):
    """A tree of files that can be listed and fetched."""

    def uri(self, path: str = "") -> str:
        """The full URI of a path."""

    def children(self, path: str = "") -> tuple[list[str], list[ObjectInfo]]:
        """The names of the folders directly below `path`, and the files there, both sorted."""

    def fetch(self, objects: Sequence[ObjectInfo], folder: Path) -> list[LocalFile]:
        """Brings the objects below the folder; those of one folder of the source into one folder."""


class StoreSource:
    """A bucket as a source; `file://` is linked to, not copied."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def uri(self, path: str = "") -> str:
        """The full URI of a path."""
        return self._store.uri(path)

    def children(self, path: str = "") -> tuple[list[str], list[ObjectInfo]]:
        """The names of the folders directly below `path`, and the files there, both sorted."""
        return self._store.children(path)

    def fetch(self, objects: Sequence[ObjectInfo], folder: Path) -> list[LocalFile]:
        """Streams the objects into the folder, or links to them where they lie."""
        return [self._fetch(info, folder / name) for info, name in zip(objects, local_names(objects), strict=True)]

    def _fetch(self, info: ObjectInfo, to: Path) -> LocalFile:
        there = self._store.local_path(info.path)
        try:
            # An earlier try may have left a link, and nothing is to be written to where it leads.
            to.unlink(missing_ok=True)
            return self._download(info, to) if there is None else self._link(info, there, to)
        except MissingObjectError:
            raise self._failed(info, "changed or went away while it was being read; start the run again") from None

    def _download(self, info: ObjectInfo, to: Path) -> LocalFile:
        got = self._store.download(info.path, to, info.version)
        if got.size != info.size:
            raise MissingObjectError(got.name)
        return LocalFile(to, got.name, got.size, got.sha256)

    def _link(self, info: ObjectInfo, there: Path, to: Path) -> LocalFile:
        if there.exists() and not there.is_file():
            raise self._failed(info, "is a device or a pipe, which is never read; name a file")
        try:
            to.symlink_to(there)
            linked = LocalFile(to, self.uri(info.path), info.size, sha256_of(there))
        except FileNotFoundError:
            raise MissingObjectError(self.uri(info.path)) from None
        except OSError as error:
            raise explain_local(error, str(there), "read") from error
        if self._store.info(info.path) != info:
            raise MissingObjectError(linked.uri)
        return linked

    def _failed(self, info: ObjectInfo, why: str) -> RunError:
        return RunError(Reason.STORAGE_FAILED, f"{self.uri(info.path)} {why}.")


def local_names(objects: Sequence[ObjectInfo]) -> list[str]:
    """A file name for each object: its own, numbered where two folders hold the same."""
    names = [info.path.rpartition("/")[2] for info in objects]
    if len(set(names)) == len(names):
        return names
    return [f"{number:05d}-{name}" for number, name in enumerate(names)]


def open_source(uri: str, revision: str | None, credentials: StoreCredentials = ENVIRONMENT) -> tuple[Source, str]:
    """The bucket, file system or repository that a URI points into, and the path there."""
    if scheme_of(uri) == HUB:
        return HubRepository.parse(uri, revision, credentials.opening(uri))
    place = Location.parse(uri)
    return StoreSource(Store.open(f"{place.scheme}://{place.bucket}/", secret=credentials.opening(uri))), place.key


def fetch(source: Source, objects: Sequence[ObjectInfo], into: Path) -> list[LocalFile]:
    """The objects in a folder of their own below `into`, with sizes and digests; fetched once per machine."""
    identity = [(source.uri(info.path), info.size, info.version) for info in objects]
    return fetch_once(into, identity, lambda folder: source.fetch(objects, folder))
