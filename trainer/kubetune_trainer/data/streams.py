"""Text files line by line: decompressed, decoded, and bounded, because a dataset is somebody else's file.

Lines are read as bytes with a limit and decoded one by one, so that a hostile file can neither fill the memory nor
hide where its bad byte is.
"""

import bz2
import gzip
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

from kubetune_api.formats import compression_of
from kubetune_trainer.data.rows import place
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile

MIB = 2**20
MAX_LINE_BYTES = 16 * MIB
MAX_CELL_CHARACTERS = MIB
MAX_EXPANDED_BYTES = 64 * 2**30
"""How much a compressed or columnar file may hold once it is unpacked."""
MAX_EXPANSION = 500
"""How many times larger than itself a compressed file may become: text shrinks 3 to 20 times, templates perhaps 100."""
EXPANSION_GRACE_BYTES = 64 * MIB
"""Small files may expand as they like."""

_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_FROM_UTF16 = "save the file as UTF-8 (`iconv -f UTF-16 -t UTF-8 in > out`)"


def lines(file: LocalFile) -> Generator[str]:
    """The lines of a text file, each with its line end, as csv's reader wants them. To be closed by who stops early."""
    if file.path.stat().st_size == 0:
        raise invalid_data(f"{file.uri} is empty (0 bytes); upload it again, or remove it")
    offset = 0
    with _open(file) as stream:
        number = 1
        while line := _read_line(stream, file, number):
            _refuse_binary(line, file, number)
            yield _decode(line, file, number, offset)
            offset += len(line)
            number += 1
            refuse_bomb(file, offset)


def refuse_bomb(file: LocalFile, expanded: int) -> None:
    """Raises if the file has become too large while it was unpacked."""
    if expanded > MAX_EXPANDED_BYTES:
        raise invalid_data(
            f"{file.uri} holds more than {MAX_EXPANDED_BYTES // 2**30} GiB once unpacked; split it into several files"
        )
    if expanded > EXPANSION_GRACE_BYTES and expanded > MAX_EXPANSION * file.path.stat().st_size:
        raise invalid_data(
            f"{file.uri} becomes more than {MAX_EXPANSION} times larger when it is unpacked, as a decompression bomb"
            " does; if the data is real, upload it uncompressed"
        )


OPENERS: dict[str, Callable[[Path], Any]] = {"gzip": gzip.open, "bzip2": bz2.open}
"""By the compression's name in the API's table."""


def _open(file: LocalFile) -> IO[bytes]:
    compression = compression_of(file.uri)
    if compression is None:
        return file.path.open("rb")
    opened: IO[bytes] = OPENERS[compression](file.path)
    return opened


def _read_line(stream: IO[bytes], file: LocalFile, number: int) -> bytes:
    try:
        line = stream.readline(MAX_LINE_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError, ValueError) as error:
        if compression_of(file.uri) is None:
            raise
        raise invalid_data(
            f"{place(file.uri, number)}: the compressed file is damaged or cut short ({error}); upload it again"
        ) from error
    if len(line) > MAX_LINE_BYTES:
        raise invalid_data(
            f"{place(file.uri, number)}: the line is longer than {MAX_LINE_BYTES // MIB} MiB; check that the file has"
            " line ends and that its format is what its name says"
        )
    return line


def _refuse_binary(line: bytes, file: LocalFile, number: int) -> None:
    if number == 1 and line.startswith(_UTF16_BOMS):
        raise invalid_data(f"{file.uri} is UTF-16; {_FROM_UTF16}")
    if b"\0" in line:
        raise invalid_data(
            f"{place(file.uri, number)}: holds a NUL byte, which text has none of; if the file is UTF-16,"
            f" {_FROM_UTF16}, otherwise remove the byte (`tr -d '\\000' < in > out`)"
        )


def _decode(line: bytes, file: LocalFile, number: int, offset: int) -> str:
    skipped = len(_UTF8_BOM) if number == 1 and line.startswith(_UTF8_BOM) else 0
    try:
        return line[skipped:].decode("utf-8")
    except UnicodeDecodeError as error:
        position = skipped + error.start
        raise invalid_data(
            f"{place(file.uri, number)}: byte {offset + position} of the file (0x{line[position]:02x}) is not UTF-8;"
            " save the file as UTF-8 (`iconv -f WINDOWS-1252 -t UTF-8 in > out`, with the encoding it really has)"
        ) from error
