"""Objects put into a store, for the tests of what reads them."""

from pathlib import Path
from tempfile import TemporaryDirectory

from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.store import Store


def put(store: Store, path: str, data: bytes) -> None:
    """Writes an object, over any that is there."""
    with TemporaryDirectory() as scratch:
        file = Path(scratch, "object")
        file.write_bytes(data)
        store.upload(file, path)


class Watched(Store):
    """Remembers what was fetched, and how many bytes lay beside it at most."""

    fetched: tuple[str, ...] = ()
    most = 0

    def download(self, path: str, to: Path, version: str | None = None) -> StoredFile:
        found = super().download(path, to, version)
        self.fetched += (to.name.partition("-")[2],)
        self.most = max(self.most, sum(one.stat().st_size for one in to.parent.iterdir()))
        return found
