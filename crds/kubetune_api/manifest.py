"""From the text of a manifest to its jobs and profiles, or to all its errors at once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kubetune_api.base import API_VERSION
from kubetune_api.errors import FieldError, show
from kubetune_api.errors import Path as FieldPath
from kubetune_api.foreign import answer, trainer_of
from kubetune_api.job import MAX_NAME_LENGTH, QUEUE_LABEL, FineTuneJob, queue_label_error
from kubetune_api.kinds import KINDS
from kubetune_api.overrides import Override, apply_overrides, parse_override, parse_path
from kubetune_api.profile import FineTuneProfile
from kubetune_api.schema import KEY, Schema, structural_schema
from kubetune_api.sentences import not_a_text, not_one_of, sentence
from kubetune_api.uris import resolve_relative_uris
from kubetune_api.validation import broken_beside_unknown
from kubetune_api.violations import violations
from kubetune_api.yaml_tree import Document, read_documents

MAX_BYTES = 1 << 20
"""The largest manifest file; the API server takes no object of this size either."""
_LISTS = ("List", *(f"{kind}List" for kind in KINDS))
GENERATED = "xxxxx"
"""Stands for the five characters that the API server adds to a `generateName`."""


@dataclass(frozen=True)
class Manifest:
    """What a manifest holds: the objects that are right, and the errors of those that are not."""

    jobs: tuple[FineTuneJob, ...] = ()
    profiles: tuple[FineTuneProfile, ...] = ()
    errors: tuple[FieldError, ...] = ()
    generated_names: frozenset[str] = frozenset()
    """The names of objects that leave theirs to the API server (`generateName`), as `reviews-xxxxx`."""


@dataclass(frozen=True)
class _Read:
    document: Document
    item: FineTuneJob | FineTuneProfile
    generated: bool
    """Whether the API server completes the name."""


def read_manifest(text: str | bytes, file: str, *, overrides: Sequence[str] = ()) -> Manifest:
    """Reads every document of a manifest; never raises, whatever the text.

    `file` names the text in errors; relative URIs are judged as beside it, and stay as they are.
    `overrides` (`spec.training.epochs=1`) are put into each job before it is judged.
    """
    if isinstance(text, bytes):
        text_or_error = _decoded(text, file)
        if isinstance(text_or_error, FieldError):
            return Manifest(errors=(text_or_error,))
        text = text_or_error
    parsed = [parse_override(override) for override in overrides]
    good = [override for override in parsed if isinstance(override, Override)]
    documents, errors = read_documents(text, file)
    items = list(_items(documents, errors))
    if not items and not errors:
        errors.append(FieldError("", None, "the file contains no object; write a FineTuneJob into it", None, file))
    errors += [error for error in parsed if isinstance(error, FieldError)]
    read: list[_Read] = []
    for document in items:
        item, found = _judge(document, good)
        errors += [error for error in found if not any(error.path and _same(error, known) for known in errors)]
        if item is not None:
            read.append(item)
    errors += _twins(read) + _violations(read, file)
    return Manifest(
        jobs=tuple(each.item for each in read if isinstance(each.item, FineTuneJob)),
        profiles=tuple(each.item for each in read if isinstance(each.item, FineTuneProfile)),
        errors=tuple(sorted(errors, key=lambda error: (error.line is None, error.line))),
        generated_names=frozenset(each.item.metadata.name for each in read if each.generated),
    )


def _items(documents: Sequence[Document], errors: list[FieldError]) -> Iterator[Document]:
    """The documents, with each `kind: List` replaced by its items as kubectl does; adds to `errors`."""
    for document in documents:
        value = document.value
        if not isinstance(value, dict) or value.get("kind") not in _LISTS:
            yield document
            continue
        items = value.get("items", [])
        if isinstance(items, list):
            yield from _items([document.below(("items", index)) for index in range(len(items))], errors)
        else:
            message = f"{show(items)} is not a list; put `- ` before each object"
            errors.append(document.error(("items",), items, message))


def _decoded(data: bytes, file: str) -> str | FieldError:
    if len(data) > MAX_BYTES:
        message = f"the file has more than {MAX_BYTES} bytes, too many for a manifest; name another file"
        return FieldError("", None, message, None, file)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return FieldError("", None, f"byte 0x{data[error.start]:02X} is not UTF-8; save the file as UTF-8", line, file)


def _judge(document: Document, overrides: Sequence[Override]) -> tuple[_Read | None, list[FieldError]]:
    value = document.value
    if not isinstance(value, dict):
        message = f"{show(value)} is not an object; start with `apiVersion: {API_VERSION}`"
        return None, [document.error((), value, message)]
    if trainer := trainer_of(value):
        return None, [document.error((), None, answer(trainer))]
    kind = KINDS.get(value["kind"]) if isinstance(value.get("kind"), str) else None
    if kind is None:
        return None, [_unknown_kind(document)]
    model = kind.model
    errors: list[FieldError] = []
    if model is FineTuneJob:
        document, errors = apply_overrides(document, overrides)
    schema = structural_schema(model)
    given = _without_nulls({name: part for name, part in document.value.items() if name != "status"}, schema)
    generated = _has_generated_name(given.get("metadata"))
    if generated:
        given["metadata"], found = _named(document, given["metadata"])
        errors += found
    errors += _labels_that_are_no_text(document)
    errors += _queue_label(document) if model is FineTuneJob else []
    try:
        item = model.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for each in details + broken_beside_unknown(model, given, details):
            path: FieldPath = each["loc"]
            if path[-1] == KEY:  # ("matchLabels", "the key itself", "[key]")
                path, each["loc"] = path[:-1], (*path[:-2], KEY)
            written = document.place(path).written if path in document.places and each["loc"] == path else None
            errors.append(document.error(path, each["input"], sentence(each, schema, written)))
        return None, errors
    return (None, errors) if errors else (_Read(document, item, generated), [])


def _has_generated_name(metadata: Any) -> bool:
    """Beside a name, the API server ignores `generateName`."""
    return isinstance(metadata, dict) and bool(metadata.get("generateName")) and not metadata.get("name")


def _named(document: Document, metadata: dict[str, Any]) -> tuple[dict[str, Any], list[FieldError]]:
    """The metadata with such a name as the API server would make, and what is wrong with its beginning."""
    path, start = ("metadata", "generateName"), metadata["generateName"]
    most = MAX_NAME_LENGTH - len(GENERATED)
    if not isinstance(start, str):
        message = not_a_text(show(start), start, document.place(path).written)
    elif len(start) > most or not re.fullmatch("[a-z][-a-z0-9]*", start):
        message = (
            f"{show(start)} does not fit; give at most {most} lowercase letters, digits and `-`, the first a letter, to"
            f" which the API server adds {len(GENERATED)} more"
        )
    else:
        return metadata | {"name": start + GENERATED}, []
    return metadata | {"name": GENERATED}, [document.error(path, start, message)]


def _unknown_kind(document: Document) -> FieldError:
    kind = document.value.get("kind")
    if kind is None:
        message = f"missing; add `kind: {' or '.join(KINDS)}`"
    else:
        message = not_one_of(show(kind), kind, list(KINDS))
        if document.value.get("apiVersion") != API_VERSION and "did you mean" not in message:
            message = f"kubetune does not read a {show(kind)}; keep it in a file of its own"
    return document.error(("kind",), kind, message)


def _without_nulls(value: Any, schema: Schema) -> Any:
    """The API server takes a null for an absent field, wherever a known field is meant."""
    if isinstance(value, list):
        return [_without_nulls(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties", {})
    return {
        name: _without_nulls(part, known.get(name, {}))
        for name, part in value.items()
        if part is not None or name not in known
    }


def _labels_that_are_no_text(document: Document) -> list[FieldError]:
    """The rest of `metadata` is the API server's to judge; these two are where people forget the quotes."""
    metadata = document.value.get("metadata")
    errors = []
    for field in ("labels", "annotations"):
        texts = metadata.get(field) if isinstance(metadata, dict) else None
        for name, value in texts.items() if isinstance(texts, dict) else ():
            if not isinstance(value, str):
                path = ("metadata", field, name)
                message = not_a_text(show(value), value, document.place(path).written)
                errors.append(document.error(path, value, message))
    return errors


def _queue_label(document: Document) -> list[FieldError]:
    metadata, spec = document.value.get("metadata"), document.value.get("spec")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    label = labels.get(QUEUE_LABEL) if isinstance(labels, dict) else None
    message = queue_label_error(label, spec.get("queueName") if isinstance(spec, dict) else None)
    return [document.error(("metadata", "labels", QUEUE_LABEL), label, message)] if message else []


def _same(error: FieldError, known: FieldError) -> bool:
    """A value that YAML cannot express is missing to the model: one error is enough."""
    return (error.path, error.line) == (known.path, known.line)


def _twins(read: Sequence[_Read]) -> list[FieldError]:
    errors = []
    seen: dict[tuple[str, str, str], int | None] = {}
    for each in read:
        metadata = each.item.metadata
        place = each.document.place(("metadata", "name"))
        key = (each.item.kind, metadata.namespace, metadata.name)
        if key in seen and not each.generated:
            message = (
                f"{show(metadata.name)} is here and on line {seen[key]}; the later one replaces the earlier one; rename"
                " one"
            )
            errors.append(each.document.error(("metadata", "name"), metadata.name, message))
        seen.setdefault(key, place.line)
    return errors


def _violations(read: Sequence[_Read], file: str) -> list[FieldError]:
    profiles = {each.item.metadata.name: each.item for each in read if isinstance(each.item, FineTuneProfile)}
    errors = []
    for each in read:
        if not isinstance(each.item, FineTuneJob):
            continue
        profile = profiles.get(each.item.spec.profile_ref.name or "")
        if profile is not None:
            job = resolve_relative_uris(each.item, Path(file).parent)
            errors += [
                each.document.error(parse_path(path), value, f"{show(value)}: {message}")
                for path, value, message in violations(job, profile)
            ]
    return errors
