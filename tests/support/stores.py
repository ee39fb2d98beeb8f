"""Objects put into a store, for the tests of what reads them."""

from pathlib import Path
from tempfile import TemporaryDirectory

from kubetune_trainer.storage.store import Store


def put(store: Store, path: str, data: bytes) -> None:
    """Writes an object, over any that is there."""
    with TemporaryDirectory() as scratch:
        file = Path(scratch, "object")
        file.write_bytes(data)
        store.upload(file, path)
