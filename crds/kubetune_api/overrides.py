"""`--set path=value`: changes to a manifest before it is judged, so that they are judged with it."""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from kubetune_api.errors import FieldError, Path, Step, path_text, show
from kubetune_api.yaml_scalars import IMPLICIT_TAG, ScalarError, resolve
from kubetune_api.yaml_tree import Document, Place, read_documents

SOURCE = "--set"
"""The "file" of an error in such a value."""

_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\[\d{1,4}\])*(\.[A-Za-z][A-Za-z0-9_-]*(\[\d{1,4}\])*)*")
_STEP = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|\[\d+\]")


@dataclass(frozen=True)
class Override:
    """A value to be put at a path."""

    path: Path
    value: Any
    written: dict[Path, str | None]
    """Every part of the value, by its path below `path`, with its text if it has no quotes."""


def parse_override(text: str) -> Override | FieldError:
    """Parses `spec.evaluation.require[0].min=0.9`. The value is read as kubectl reads a value in YAML: `[a, b]` is a
    list, an empty value is null, which leaves the field to its default.
    """
    path_part, equals, value_part = text.partition("=")
    if not equals:
        return _error(None, f"{show(text)} has no `=`; write {SOURCE} spec.training.epochs=1")
    if not _PATH.fullmatch(path_part.strip()):
        return _error(None, f"{show(path_part)} is not a path; write it like spec.evaluation.require[0].min")
    path = parse_path(path_part.strip())
    value_text = value_part.strip()
    if value_text[:1] in ("[", "{", '"', "'"):
        documents, errors = read_documents(value_text, SOURCE)
        if errors or len(documents) != 1:
            reason = errors[0].message if errors else "it holds no value"
            return _error(path_text(path), f"{show(value_text)} cannot be read: {reason}")
        written = {below: place.written for below, place in documents[0].places.items()}
        return Override(path, documents[0].value, written)
    try:
        return Override(path, resolve(IMPLICIT_TAG, value_text), {(): value_text})
    except ScalarError as error:
        return _error(path_text(path), str(error))


def parse_path(text: str) -> Path:
    """The steps of a path like `spec.evaluation.require[0].min`."""
    steps = _STEP.findall(text)
    return tuple(int(step[1:-1]) if step.startswith("[") else step for step in steps)


def apply_overrides(document: Document, overrides: Sequence[Override]) -> tuple[Document, list[FieldError]]:
    """A copy of the document with the values in their places, and the errors of paths that lead nowhere."""
    value, places, errors = deepcopy(document.value), dict(document.places), []
    for override in overrides:
        prefixes = [override.path[:length] for length in range(1, len(override.path))]
        made = [prefix for prefix in prefixes if not isinstance(_at(value, prefix), dict | list)]
        error = _put(value, override)
        if error:
            errors.append(error)
            continue
        places = {path: place for path, place in places.items() if path[: len(override.path)] != override.path}
        places |= dict.fromkeys(made, Place(SOURCE))
        places |= {(*override.path, *below): Place(SOURCE, None, text) for below, text in override.written.items()}
    return replace(document, value=value, places=places), errors


def _put(root: Any, override: Override) -> FieldError | None:
    here = root
    for step, following in zip(override.path[:-1], override.path[1:], strict=True):
        error = _room(here, step, override)
        if error:
            return error
        below = here[step] if _holds(here, step) else None
        if not isinstance(below, list if isinstance(following, int) else dict):
            below = [] if isinstance(following, int) else {}
            _assign(here, step, below)
        here = below
    error = _room(here, override.path[-1], override)
    if not error:
        _assign(here, override.path[-1], deepcopy(override.value))
    return error


def _at(here: Any, path: Path) -> Any:
    for step in path:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            return None
    return here


def _room(here: Any, step: Step, override: Override) -> FieldError | None:
    """An index may name an item of the list, or the place after its last."""
    if isinstance(step, int) and step > len(here):
        message = f"the list has {len(here)} items; give an index of at most {len(here)}, which adds one"
        return _error(path_text(override.path), message)
    return None


def _holds(here: Any, step: Step) -> bool:
    return step < len(here) if isinstance(step, int) else step in here


def _assign(here: Any, step: Step, value: Any) -> None:
    if isinstance(step, int) and step == len(here):
        here.append(value)
    else:
        here[step] = value


def _error(path: str | None, message: str) -> FieldError:
    return FieldError(path or "", None, message, None, SOURCE)
