"""A large object fetched in ranges, several at a time: a store sends over one connection far less than over many.

What comes goes straight to its place in a file, so that little of it is in memory at any time.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

from kubetune_trainer.storage.digests import PIECE

RANGE = 64 * 2**20
"""Bytes of a range."""
AT_ONCE = 16

Range = Callable[[int, int], Iterator[bytes]]
"""The bytes of an object from one place up to another, as they come."""


def write_ranges(file: int, size: int, read: Range) -> str:
    """Writes an object of `size` bytes into a file, by its descriptor; the sha256 of what the file then holds.

    The first error ends it, once every thread has seen it.
    """
    digest, failed = hashlib.sha256(), Event()

    def fetch(start: int) -> None:
        with closing(read(start, min(start + RANGE, size))) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                if failed.is_set():
                    return
                _write(file, chunk, start)
                start += len(chunk)

    with ThreadPoolExecutor(AT_ONCE, "range") as pool:
        starts = range(0, size, RANGE)
        try:
            for start, fetched in zip(starts, [pool.submit(fetch, start) for start in starts], strict=True):
                fetched.result()
                for piece in _pieces(file, start, min(start + RANGE, size)):
                    digest.update(piece)
        except BaseException:
            failed.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return digest.hexdigest()


def _write(file: int, chunk: bytes, start: int) -> None:
    """A disk that fills up takes a part of it before it refuses."""
    rest = memoryview(chunk)
    while rest:
        written = os.pwrite(file, rest, start)
        rest, start = rest[written:], start + written


def _pieces(file: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (piece := os.pread(file, min(PIECE, end - start), start)):
        yield piece
        start += len(piece)
