"""Every URI of a manifest, found by the types of the fields; and where URIs lie: relative ones, one below another."""

import posixpath
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args
from urllib.parse import unquote

from kubetune_api.base import ApiModel
from kubetune_api.errors import Path as FieldPath
from kubetune_api.errors import path_text
from kubetune_api.schemes import FILE, scheme_of

Model = TypeVar("Model", bound=ApiModel)
_FILE = f"{FILE}://"


class Use(Enum):
    """What happens at a URI; marks the type of a field that holds one: `Annotated[str, Use.READ]`."""

    READ = "read"
    WRITE = "write"


class UriField(NamedTuple):
    """A URI that a manifest holds."""

    path: str
    """The field, `spec.dataset.test.uri`."""
    uri: str
    use: Use


def uri_fields(model: ApiModel) -> Iterator[UriField]:
    """Every URI that is read or written, at any depth, in the order of the fields.

    They are found by the marks in the annotations, so a new field needs its type and nothing else.
    """
    found: list[UriField] = []

    def note(path: FieldPath, uri: str, use: Use) -> str:
        found.append(UriField(path_text(path), uri, use))
        return uri

    _changed(model, note)
    return iter(found)


def resolve_relative_uris(model: Model, folder: Path) -> Model:
    """The same with every file URI made absolute and free of `.` and `..`; relative ones start at `folder`."""
    changed: Model = _changed(model, lambda _path, uri, _use: absolute(uri, folder))
    return changed


_Change = Callable[[FieldPath, str, Use], str]


def _changed(value: Any, change: _Change, path: FieldPath = (), use: Use | None = None) -> Any:
    """A copy in which every URI is what `change` makes of it; `use` is the mark of the field's type."""
    if isinstance(value, ApiModel):
        parts = {}
        for name, alias, mark in _fields_with_uris(type(value)):
            before = getattr(value, name)
            after = _changed(before, change, (*path, alias), mark)
            if after != before:
                parts[name] = after
        return value.model_copy(update=parts) if parts else value
    if isinstance(value, list):
        return [_changed(item, change, (*path, index), use) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {name: _changed(item, change, (*path, name), use) for name, item in value.items()}
    return change(path, value, use) if isinstance(value, str) and use is not None else value


@cache
def _fields_with_uris(model: type[ApiModel]) -> tuple[tuple[str, str, Use | None], ...]:
    """Name, alias and mark of each field that is a URI or may hold one further down. The operator asks at each look at
    a job, and most fields hold none."""
    return tuple(
        (name, field.alias or name, mark)
        for name, field in model.model_fields.items()
        if (mark := _mark(field.annotation, *field.metadata))
        or any(_fields_with_uris(part) for part in _models_in(field.annotation))
    )


def _models_in(annotation: Any) -> Iterator[type[ApiModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _mark(annotation: Any, *metadata: Any) -> Use | None:
    """The mark of a type, wherever in it: of `list[Annotated[str, Use.READ]] | None`, too."""
    marks = [each for each in metadata if isinstance(each, Use)]
    marks += [mark for part in get_args(annotation) if (mark := part if isinstance(part, Use) else _mark(part))]
    return marks[0] if marks else None


def lies_below(uri: str, prefix: str) -> bool:
    """Whether `uri` is `prefix` or lies below it, after a `/`. A path that climbs, `%2e%2e` included, lies nowhere."""
    parts, leading = _parts(uri), _parts(prefix)
    return parts[: len(leading)] == leading and not {".", ".."}.intersection(parts)


def file_path(uri: str) -> Path | None:
    """The path on this machine that an absolute file URI names; None for a URI of another scheme."""
    return Path(unquote(uri.removeprefix(_FILE).removeprefix("localhost"))) if scheme_of(uri) == FILE else None


def _parts(uri: str) -> list[str]:
    scheme, separator, rest = uri.partition("://")
    path = unquote(rest.removeprefix("localhost")) if scheme == FILE else rest
    return [scheme + separator, *(part for part in path.split("/") if part)]


def absolute(uri: str, folder: Path) -> str:
    """The same without `.` and `..`; a relative file URI starts at `folder`."""
    if scheme_of(uri) != FILE:
        return uri
    # Text, not the file system: a pattern is no file, and a link shall stay the name that its owner gave it.
    # A path, and not yet a URI; its stars are no pattern.
    start = folder.absolute().as_posix().replace("%", "%25").replace("*", "%2A")
    path = posixpath.normpath(posixpath.join(start, uri.removeprefix(_FILE)))
    return _FILE + "/" + path.lstrip("/")
