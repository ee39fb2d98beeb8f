"""What is wrong with a manifest, said so that its author can mend it: place, path, value, remedy."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

Step = str | int
Path = tuple[Step, ...]
"""Where a value is in a manifest: names of fields and indexes of lists."""

LONGEST_VALUE = 60
"""Characters of a value that a message shows."""


@dataclass(frozen=True)
class FieldError:
    """One thing to mend."""

    path: str
    """The field, `spec.evaluation.require[0].metric`; empty if the error is the file's."""
    value: object
    """What stands there; None if nothing does."""
    message: str
    """The error and its remedy, in a sentence."""
    line: int | None = None
    """The line in the file, counted from 1; None if there is none, as for a value of `--set`."""
    file: str = ""
    """The file as its reader named it."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


def path_text(path: Iterable[Step]) -> str:
    """The path as people write it: `spec.evaluation.require[0].metric`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def show(value: object) -> str:
    """A value as a message shows it: short, on one line, harmless to a terminal."""
    if isinstance(value, dict):
        return "a group of fields"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    printable = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    return printable if len(printable) <= LONGEST_VALUE else f"{printable[: LONGEST_VALUE - 1]}…"
