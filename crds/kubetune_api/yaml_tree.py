"""Reads YAML text the way kubectl does, and remembers the line of every value.

PyYAML composes the nodes, which carry their places; what the scalars mean is `yaml_scalars`' business. Stricter than
kubectl where kubectl would drop something without a word: duplicate keys, text after `...`. Hostile text is bounded:
its size, its depth, and what its aliases unfold to.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from kubetune_api.errors import FieldError, Path, path_text, show
from kubetune_api.yaml_scalars import IMPLICIT_TAG, Scalar, ScalarError, resolve, tag_as_written
from kubetune_api.yaml_syntax import MAX_DEPTH, TOO_DEEP, YamlError, compose

MAX_VALUES = 50_000
"""Values in one document, aliases unfolded."""
_MERGE = "<<"
_CONTAINER_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True)
class Place:
    """Where a value was written, and how."""

    file: str
    line: int | None = None
    """Counted from 1."""
    written: str | None = None
    """The text of an unquoted scalar."""


@dataclass(frozen=True)
class Document:
    """One YAML document: JSON-like values, and the place of each."""

    value: Any
    places: dict[Path, Place] = field(default_factory=dict)
    start: Path = ()
    """Where the value is in the document of the file, which errors name: `items[0]` of a list."""

    def below(self, path: Path) -> "Document":
        """The value at a path as a document of its own."""
        value = self.value
        for step in path:
            value = value[step]
        places = {place[len(path) :]: found for place, found in self.places.items() if place[: len(path)] == path}
        return Document(value, places, (*self.start, *path))

    def place(self, path: Path) -> Place:
        """The place of the value, or of the nearest one around it."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places[path]

    def error(self, path: Path, value: object, message: str) -> FieldError:
        """An error at a path of this document."""
        place = self.place(path)
        return FieldError(path_text((*self.start, *path)), value, message, place.line, place.file)


def read_documents(text: str, file: str) -> tuple[list[Document], list[FieldError]]:
    """The documents of a text that hold something, and the errors of all of them. Never raises on any text."""
    documents: list[Document] = []
    errors: list[FieldError] = []
    for first_line, chunk in _split(text):
        reading = _Reading(file, first_line)
        document = reading.read(chunk)
        errors += reading.errors
        if document is not None and document.value is not None:
            documents.append(document)
    return documents, errors


def _split(text: str) -> Iterator[tuple[int, str]]:
    """Cuts at the lines of `---`, as kubectl does before any YAML is read: (lines before, text with a line end)."""
    lines = text.removeprefix("\ufeff").split("\n")
    start = 0
    for number, line in enumerate(lines):
        if number > start and _SEPARATOR.fullmatch(line):
            yield start, "\n".join([*lines[start:number], ""])
            start = number
    yield start, "\n".join(lines[start:] if lines[-1] == "" else [*lines[start:], ""])


_SEPARATOR = re.compile(r"---\s*(#.*)?")
_WRONG_SEPARATOR = re.compile(r"^---(?!\s*$|[^\S\n]*#).*$", re.MULTILINE)


class _Reading:
    """The reading of one document: what is found wrong gathers in `errors`."""

    def __init__(self, file: str, lines_before: int) -> None:
        self.errors: list[FieldError] = []
        self._file = file
        self._lines_before = lines_before
        self._places: dict[Path, Place] = {}
        self._open: list[yaml.Node] = []
        self._values = 0

    def read(self, text: str) -> Document | None:
        """The document, or None if there is none or it cannot be read."""
        if wrong := _WRONG_SEPARATOR.search(text):
            message = (
                "a line that starts with `---` separates documents and must contain nothing else; put the rest below it"
            )
            self._error((), None, message, text.count("\n", 0, wrong.start()))
            return None
        try:
            node = compose(text)
            return None if node is None else Document(self._value(node, (), self._place(node, node)), self._places)
        except YamlError as error:
            self._error((), None, error.message, error.line_index)
            return None

    def _value(self, node: yaml.Node, path: Path, place: Place) -> Any:
        self._places[path] = place
        self._values += 1
        if self._values > MAX_VALUES:
            raise YamlError(
                node.start_mark.line, f"the document contains more than {MAX_VALUES} values; its aliases multiply"
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in _CONTAINER_TAGS:
            message = f"the tag {tag_as_written(node.tag)} has no meaning here; remove it"
            self._error(path, None, message, node.start_mark.line)
        with self._opened(node):
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._value(item, (*path, i), self._place(item, item)) for i, item in enumerate(node.value)]

    @contextmanager
    def _opened(self, node: yaml.Node) -> Iterator[None]:
        if any(node is outer for outer in self._open):
            raise YamlError(node.start_mark.line, "an alias is inside the value that it repeats; remove it")
        if len(self._open) >= MAX_DEPTH:
            raise YamlError(node.start_mark.line, TOO_DEEP)
        self._open.append(node)
        yield
        self._open.pop()

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Scalar:
        try:
            value = resolve(node.tag, node.value)
        except ScalarError as error:
            self._error(path, node.value, str(error), node.start_mark.line)
            return None
        if isinstance(value, str) and not value.isascii():
            try:
                # JSON writes what lies beyond 16 bits as two escapes, which PyYAML takes for two characters.
                return value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                self._error(path, None, "half a surrogate pair is not a character; remove it", node.start_mark.line)
                return None
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            line = key_node.start_mark.line
            if key in seen:
                first = self._line(seen[key])
                message = f"the name is in this group twice, first on line {first}; keep one of the two"
                self._error((*path, key), None, message, line)
                continue
            seen[key] = line
            if key == _MERGE and key_node.tag == IMPLICIT_TAG:
                self._merge(value_node, fields, seen, path)
            else:
                fields[key] = self._value(value_node, (*path, key), self._place(key_node, value_node))
        return fields

    def _merge(self, node: yaml.Node, fields: dict[str, Any], seen: dict[str, int], path: Path) -> None:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        # Of several, the first wins.
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                self._error(path, None, "`<<` takes a group of fields, or a list of such groups", node.start_mark.line)
                continue
            with self._opened(source):
                merged = self._mapping(source, path)
            for name in merged.keys() & seen.keys():
                message = "`<<` below replaces this value; put `<<` first in the group"
                self._error((*path, name), None, message, seen[name])
            fields |= merged

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        line = node.start_mark.line
        if not isinstance(node, yaml.ScalarNode):
            self._error(path, None, "the name of a field is a text, not a list or a group", line)
            return None
        try:
            key = resolve(node.tag, node.value)
        except ScalarError as error:
            self._error(path, node.value, str(error), line)
            return None
        if key is None or isinstance(key, bool):
            message = f"the name {show(node.value)} is not a text but {show(key)} without quotes; quote it"
            self._error(path, key, message, line)
            return None
        return str(key)

    def _place(self, at: yaml.Node, value: yaml.Node) -> Place:
        written = value.value if isinstance(value, yaml.ScalarNode) and value.tag == IMPLICIT_TAG else None
        return Place(self._file, self._line(at.start_mark.line), written)

    def _line(self, index: int) -> int:
        return self._lines_before + index + 1

    def _error(self, path: Path, value: object, message: str, line_index: int) -> None:
        self.errors.append(FieldError(path_text(path), value, message, self._line(line_index), self._file))
