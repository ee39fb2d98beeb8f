"""Which files of a source a URI names: `*` stands for any part of a name, `**` for folders, however many.

As in a shell, neither stands for a hidden name: one that begins with a dot is read where the pattern spells the dot.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Protocol
from urllib.parse import unquote

from kubetune_api.schemes import FILE, scheme_of
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.storage.store import ObjectInfo

MOST_FOLDERS = 32
"""How deep `**` goes: a link that leads back into its own folder has no end."""
_STAR, _FOLDERS = "*", "**"

Part = str | re.Pattern[str] | None
"""A name of the path: this one, one of these, or any folders."""


class Listed(Protocol):
    """A tree of files that can be listed."""

    def children(self, path: str = "") -> tuple[list[str], list[ObjectInfo]]:
        """The names of the folders directly below `path`, and the files there, both sorted."""


class Pattern:
    """The path of a URI, which may hold stars."""

    def __init__(self, path: str, decode: Callable[[str], str] = str) -> None:
        self.parts = tuple(_part(text, decode) for text in path.split("/"))

    @classmethod
    def of(cls, uri: str, path: str) -> "Pattern":
        """`path` is that of the URI in its source. In `file://`, a star written `%2A` is a star of the name itself."""
        if scheme_of(uri) != FILE:
            return cls(path)
        written = uri.partition("://")[2].removeprefix("localhost")
        return cls("/".join(part for part in written.split("/") if part), unquote)

    @property
    def folder(self) -> str:
        """The folder that all files are below."""
        return "/".join(self._literal[:-1] if self.is_literal else self._literal)

    @property
    def is_literal(self) -> bool:
        """Whether it is the path of one file."""
        return len(self._literal) == len(self.parts)

    @property
    def path(self) -> str:
        """The path as far as it has no star."""
        return "/".join(self._literal)

    @property
    def _literal(self) -> list[str]:
        literal = []
        for part in self.parts:
            if not isinstance(part, str):
                break
            literal.append(part)
        return literal

    def find(self, source: Listed) -> list[ObjectInfo]:
        """The files, sorted by path."""
        found = _find(cache(source.children), "", self.parts)
        # Two ways through `**` may lead to one file.
        return sorted({info.path: info for info in found}.values(), key=lambda info: info.path)


def _part(text: str, decode: Callable[[str], str]) -> Part:
    if text == _FOLDERS:
        return None
    if _STAR not in text:
        return decode(text)
    hidden = "" if decode(text).startswith(".") else r"(?!\.)"
    return re.compile(hidden + ".*".join(re.escape(decode(piece)) for piece in text.split(_STAR)), re.DOTALL)


_Children = Callable[[str], tuple[list[str], list[ObjectInfo]]]


def _find(children: _Children, folder: str, parts: Sequence[Part]) -> Iterator[ObjectInfo]:
    part, rest = parts[0], parts[1:]
    if part is None:
        yield from _below(children, folder, rest or (_part(_STAR, str),))
    elif not rest:
        yield from (info for info in children(folder)[1] if _fits(part, info.path.rpartition("/")[2]))
    elif isinstance(part, str):
        yield from _find(children, _join(folder, part), rest)
    else:
        for name in children(folder)[0]:
            if _fits(part, name):
                yield from _find(children, _join(folder, name), rest)


def _below(children: _Children, folder: str, rest: Sequence[Part]) -> Iterator[ObjectInfo]:
    """What fits `rest` in the folder or in any below it."""
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        if depth > MOST_FOLDERS:
            raise invalid_data(
                f"{here} is more than {MOST_FOLDERS} folders below {folder or 'the root'}, too deep for {_FOLDERS};"
                " name the folder, or remove a link that leads back"
            )
        yield from _find(children, here, rest)
        waiting += [(_join(here, name), depth + 1) for name in children(here)[0] if not name.startswith(".")]


def _fits(part: str | re.Pattern[str], name: str) -> bool:
    return part == name if isinstance(part, str) else part.fullmatch(name) is not None


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
