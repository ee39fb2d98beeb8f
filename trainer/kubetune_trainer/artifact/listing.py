"""All that lies below a folder of a store."""

from collections.abc import Iterator

from kubetune_trainer.storage.store import ObjectInfo, Store


def walk(store: Store, folder: str) -> Iterator[ObjectInfo]:
    """Every object below `folder`, which is relative to the store."""
    folders, objects = store.children(folder)
    yield from objects
    for name in folders:
        yield from walk(store, f"{folder}/{name}")
