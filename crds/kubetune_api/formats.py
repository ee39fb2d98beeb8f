"""How data may lie in files: one row for each format, told by the end of a file's name.

What `dataset.uri` may say, the messages and the documentation follow from the rows. The reader of each format is in the
trainer's `data/formats/`, a file for each; a test holds the keys of both against each other.
"""

from dataclasses import dataclass
from typing import Literal

from kubetune_api.tables import listed


@dataclass(frozen=True)
class FormatRow:
    """One format."""

    ending: str
    """How a file's name ends."""
    holds: str
    """What is in such a file, for the page on data."""
    counted: Literal["line", "row"] = "line"
    """What a place in such a file is counted in."""
    compressible: bool = True
    """Whether a file may be compressed as a whole, with another ending behind its own."""
    signature: bytes | None = None
    """What its first bytes match, a regular expression; None for a text, which may begin with anything."""


FORMATS: dict[str, FormatRow] = {
    "CSV": FormatRow(
        ".csv",
        'comma-separated, the first line names the columns, cells with a comma or a line end in `"`',
    ),
    "JSONL": FormatRow(".jsonl", "one JSON object per line"),
    "Parquet": FormatRow(
        ".parquet", "Parquet, any compression", counted="row", compressible=False, signature=rb"PAR1[\x00-\x1f]"
    ),
}
"""By the name for people."""
COMPRESSIONS: dict[str, str] = {".gz": "gzip", ".bz2": "bzip2"}
"""The compressions by what they add to a file's name."""
COMPRESSION_SIGNATURES: dict[str, bytes] = {"gzip": rb"\x1f\x8b", "bzip2": rb"BZh[1-9]1AY&SY"}
"""What the first bytes match, by compression."""


def endings(row: FormatRow) -> tuple[str, ...]:
    """How the names of a format's files end, those of compressed ones included."""
    return (row.ending, *(row.ending + packed for packed in COMPRESSIONS if row.compressible))


def all_endings() -> tuple[str, ...]:
    """How the names of data files end, of every format."""
    return tuple(ending for row in FORMATS.values() for ending in endings(row))


def format_of(name: str) -> str | None:
    """The format that a file's name tells; None if it tells none."""
    return next((title for title, row in FORMATS.items() if name.endswith(endings(row))), None)


def compression_of(name: str) -> str | None:
    """The compression that a file's name tells; None if it tells none."""
    return next((title for packed, title in COMPRESSIONS.items() if name.endswith(packed)), None)


def endings_in_words(*, code: bool = False) -> str:
    """All endings in short: ".csv, .jsonl (each also .gz or .bz2) or .parquet"."""
    packed = [_shown(row.ending, code=code) for row in FORMATS.values() if row.compressible]
    plain = [_shown(row.ending, code=code) for row in FORMATS.values() if not row.compressible]
    return listed([f"{', '.join(packed)} (each also {listed(COMPRESSIONS, 'or', code=code)})", *plain], "or")


def pattern() -> str:
    """What the name of a data file matches, in what RE2 and Python read alike, without backslash and quote.

    A name that ends in `*` may become anything, and is judged when the files are found.
    """
    packed = "|".join(row.ending[1:] for row in FORMATS.values() if row.compressible)
    plain = "".join(f"|[.]{row.ending[1:]}" for row in FORMATS.values() if not row.compressible)
    return f"([.]({packed})([.]({'|'.join(each[1:] for each in COMPRESSIONS)}))?{plain}|[*][^./]*)$"


def _shown(ending: str, *, code: bool) -> str:
    return f"`{ending}`" if code else ending
