"""What a file is by its first bytes, where its name says something else."""

import re
from pathlib import Path

from kubetune_api.formats import COMPRESSION_SIGNATURES, FORMATS

POINTER = "a pointer of Git LFS"
FETCH_THE_FILE = f"{POINTER} and not the file itself; run `git lfs pull` where it was cloned, and copy it again"
_SIGNATURES = {
    POINTER: rb"version https://git-lfs\.github\.com/spec/",
    "an Excel workbook or another ZIP archive": rb"PK\x03\x04",
    "an Excel workbook of the older kind": rb"\xd0\xcf\x11\xe0",
    **COMPRESSION_SIGNATURES,
    **{name: row.signature for name, row in FORMATS.items() if row.signature},
}
_LONGEST = 64
"""Bytes that are read."""


def kind_of(path: Path) -> str | None:
    """What the file is; None where its first bytes tell nothing, as those of a text do."""
    with path.open("rb") as file:
        first = file.read(_LONGEST)
    return next((kind for kind, signature in _SIGNATURES.items() if re.match(signature, first, re.DOTALL)), None)
