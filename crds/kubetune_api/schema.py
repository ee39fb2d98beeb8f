"""One schema per kind, in the structural form that the API server asks for: no references, no `anyOf`, no null.

The CRDs, the page on the API and the sentences of the errors are all made from it.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from kubetune_api.base import INT_OR_STRING_KEY, KEYS_KEY, RULES_KEY, WORDS_KEY, ApiModel
from kubetune_api.errors import Path, Step

Schema = dict[str, Any]
KEY = "[key]"
"""As the last step of a path: the keys of a map."""

_KEPT = (
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "minimum",
    "maximum",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    RULES_KEY,
    WORDS_KEY,
    INT_OR_STRING_KEY,
)


@cache
def structural_schema(model: type[ApiModel]) -> Schema:
    """The schema of a model. Shared: not to be changed."""
    raw = model.model_json_schema(by_alias=True)
    return _structural(raw, raw.get("$defs", {}))


def _structural(raw: Schema, definitions: dict[str, Schema]) -> Schema:
    raw = _resolved(raw, definitions)
    schema: Schema = {}
    if "description" in raw:
        schema["description"] = _description(raw)
    schema |= {key: raw[key] for key in _KEPT if key in raw} | _exclusive_bounds(raw)
    if "const" in raw:
        schema["enum"] = [raw["const"]]
    if raw.get("default") is not None:
        # The parts of a group have defaults of their own; the API server fills them in below an empty one.
        schema["default"] = {} if raw["type"] == "object" else raw["default"]
    if "properties" in raw:
        schema["properties"] = {name: _structural(part, definitions) for name, part in raw["properties"].items()}
    if "items" in raw:
        schema.setdefault("x-kubernetes-list-type", "atomic")
        schema["items"] = _structural(raw["items"], definitions)
    if "patternProperties" in raw:
        schema |= _map(raw, definitions)
    if raw["type"] == "integer":
        schema["format"] = "int64"
    if INT_OR_STRING_KEY in raw:
        schema.pop("type")
    return schema


def _resolved(raw: Schema, definitions: dict[str, Schema]) -> Schema:
    """Follows a reference and takes `null` out of the choices: a null in a manifest is an absent field."""
    own = {key: value for key, value in raw.items() if key not in ("$ref", "anyOf")}
    if "anyOf" in raw:
        (choice,) = (choice for choice in raw["anyOf"] if choice != {"type": "null"})
        return _resolved(choice, definitions) | own
    if "$ref" in raw:
        return _resolved(definitions[raw["$ref"].removeprefix("#/$defs/")], definitions) | own
    return own


def _map(raw: Schema, definitions: dict[str, Schema]) -> Schema:
    """The values of a map; and the rule by which the API server judges its keys, for which its schemas have no word."""
    ((pattern, value),) = raw["patternProperties"].items()
    keys = {**raw["propertyNames"], "pattern": pattern}
    rule = f"self.all(key, key.size() <= {keys['maxLength']} && key.matches('{pattern}'))"
    return {
        "additionalProperties": _structural(value, definitions),
        KEYS_KEY: keys,
        RULES_KEY: [{"rule": rule, "message": f"each key must be {keys[WORDS_KEY]}"}],
    }


def _exclusive_bounds(raw: Schema) -> Schema:
    bounds: Schema = {}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in raw:
            bounds |= {bound: raw[exclusive], exclusive: True}
    return bounds


def _description(raw: Schema) -> str:
    text = re.sub(r"\s+", " ", raw["description"]).strip()
    default = raw.get("default")
    return text if default is None else f"{text} Default: {default_text(default)}."


def default_text(default: object) -> str:
    """A default as people write it in YAML."""
    if isinstance(default, dict):
        return "{}"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return str(int(default)) if default.is_integer() else f"{default:g}"
    return str(default)


def at(schema: Schema, path: Path) -> Schema | None:
    """The schema of the value at a path; None if there is none."""
    for step in path:
        below = _below(schema, step)
        if below is None:
            return None
        schema = below
    return schema


def _below(schema: Schema, step: Step) -> Schema | None:
    found: Schema | None
    if isinstance(step, int):
        found = schema.get("items")
    elif step == KEY:
        found = schema.get(KEYS_KEY)
    elif "additionalProperties" in schema:
        found = schema["additionalProperties"]
    else:
        found = schema.get("properties", {}).get(step)
    return found


def fields(schema: Schema, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Every field at every depth, with its path. The items of a list stand at index 0."""
    for name, below in schema.get("properties", {}).items():
        yield (*path, name), below
        yield from fields(below, (*path, name))
    if "items" in schema:
        yield (*path, 0), schema["items"]
        yield from fields(schema["items"], (*path, 0))
