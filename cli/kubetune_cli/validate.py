"""`kubetune validate`: judges manifests without a cluster, and names all that is wrong with them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kubetune_api.errors import FieldError
from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import MAX_BYTES, Manifest, read_manifest
from kubetune_api.profile import FineTuneProfile
from kubetune_api.text import plural

STANDARD_INPUT = Path("-")
VALID, INVALID = 0, 2
"""The exit codes."""


def validate(files: Sequence[Path]) -> int:
    """Prints a line for every object that is right, and for every error; returns the exit code.

    The objects go to standard output; the errors, each as `file:line: path: what to do`, to standard error.
    """
    manifests = [load(file) for file in files]
    out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    for file, manifest in zip(files, manifests, strict=True):
        items: list[FineTuneJob | FineTuneProfile] = [*manifest.jobs, *manifest.profiles]
        for item in items:
            out.print(_line(name_of(file), f"{item.kind} {item.metadata.name}", "ok", "green"))
    errors = [error for manifest in manifests for error in manifest.errors]
    print_errors(errors, err)
    return INVALID if errors else VALID


def load(file: Path, overrides: Sequence[str] = ()) -> Manifest:
    """Reads a manifest, `-` from standard input. A file that cannot be read is an error like any other."""
    try:
        # One byte more than is allowed tells that there is too much; an endless file ends there.
        if file == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = f"the file cannot be read: {error.strerror or error}; name a manifest, or - for standard input"
        return Manifest(errors=(FieldError("", None, reason, None, name_of(file)),))
    return read_manifest(data, name_of(file), overrides=overrides)


def print_errors(errors: Sequence[FieldError], console: Console) -> None:
    """Prints every error on its own line, and how many there are."""
    for error in errors:
        console.print(Text(str(error)))
    if errors:
        console.print(Text(plural(len(errors), "error"), style="bold red"))


def name_of(file: Path) -> str:
    """The file as errors name it."""
    return "standard input" if file == STANDARD_INPUT else str(file)


def _line(file: str, what: str, verdict: str, style: str) -> Text:
    return Text.assemble(f"{file}: {what}: ", (verdict, style))
