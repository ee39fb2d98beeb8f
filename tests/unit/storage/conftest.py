"""Fixtures of the tests of stores: a folder as object storage."""

from pathlib import Path

import pytest

from kubetune_trainer.storage.store import Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder, which is not there yet."""
    return tmp_path / "out"


@pytest.fixture
def store(root: Path) -> Store:
    """The same as a store."""
    return Store.open(root.as_uri())
