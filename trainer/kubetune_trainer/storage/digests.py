"""Sizes and digests of local files, read piece by piece."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

PIECE = 4 * 2**20
"""Bytes read at once."""


def pieces(path: Path) -> Iterator[bytes]:
    """The file's bytes, in order."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
