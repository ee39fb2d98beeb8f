"""The page on the API, made from the models: `python -m kubetune_api.reference [--check]`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kubetune_api.base import API_VERSION, KEYS_KEY, RULES_KEY, WORDS_KEY
from kubetune_api.crd import write_or_check
from kubetune_api.errors import path_text
from kubetune_api.kinds import KINDS, KindRow
from kubetune_api.reasons import REASONS
from kubetune_api.schema import Schema, default_text, fields, structural_schema

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
"""Where the page lies in the repository."""
_HEADER = f"""<!-- Made from the models by `make crds`. Change those, not this file. -->
# The API: `{API_VERSION}`

Every field, with its type, its bounds and its default. `kubectl explain finetunejob.spec --recursive` shows the same.
A field in **bold** is required where its group is given. Fields that are not listed here are refused.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEADER, *(line for kind in KINDS.values() for line in _kind(kind)), *_reasons()]) + "\n"


def _kind(kind: KindRow) -> Iterator[str]:
    schema = structural_schema(kind.model)
    yield f"## {kind.name}\n"
    yield f"{schema['description']} {kind.scope} scope; `kubectl get {kind.short}`.\n"
    for part in ("metadata", "spec", "status"):
        if part not in schema["properties"]:
            continue
        below = schema["properties"][part]
        yield f"### {kind.name}: {part}\n"
        yield f"{below['description']}\n"
        yield "| field | type | default | what it says |"
        yield "|---|---|---|---|"
        yield from _rows(below, part)
        yield ""
        yield from _rules(below, part)


def _rows(schema: Schema, part: str) -> Iterator[str]:
    groups = {(): schema, **dict(fields(schema))}
    for path, field in fields(schema):
        if isinstance(path[-1], int):
            continue
        name = f"`{path_text((part, *path)).replace('[0]', '[]')}`"
        required = path[-1] in groups[path[:-1]].get("required", ())
        default = f"`{default_text(field['default'])}`" if "default" in field else ""
        description = field["description"].removesuffix(f" Default: {default_text(field.get('default'))}.")
        yield f"| {f'**{name}**' if required else name} | {_type(field)} | {default} | {_cell(description)} |"


def _type(field: Schema) -> str:
    if "enum" in field:
        return " or ".join(f"`{choice}`" for choice in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}, {_between(field, 'minItems', 'maxItems', 'items')}"
    if "additionalProperties" in field:
        keys, values = field[KEYS_KEY][WORDS_KEY], _type(field["additionalProperties"]).removeprefix("string: ")
        return f"map of {keys}, to {values}; up to {field['maxProperties']} entries"
    if field["type"] == "object":
        return "group"
    if WORDS_KEY in field:
        return f"string: {field[WORDS_KEY]}"
    if field["type"] == "string":
        return f"string, {_between(field, 'minLength', 'maxLength', 'characters')}"
    numbers = [
        f"{sign} {default_text(field[bound])}"
        for bound, sign in (
            ("minimum", ">" if field.get("exclusiveMinimum") else "≥"),
            ("maximum", "<" if field.get("exclusiveMaximum") else "≤"),
        )
        if bound in field
    ]
    return ", ".join([field["type"], *numbers])


def _between(field: Schema, low: str, high: str, what: str) -> str:
    most = field[high]
    return f"{field[low]} to {most} {what}" if field.get(low) else f"up to {most} {what}"


def _rules(schema: Schema, part: str) -> Iterator[str]:
    found = [
        f"- `{path_text((part, *path)).replace('[0]', '[]')}{rule.get('fieldPath', '')}`: {rule['message']}."
        for path, group in (((), schema), *fields(schema))
        for rule in group.get(RULES_KEY, ())
    ]
    if found:
        yield "Rules over several fields:\n"
        yield from found
        yield ""


def _reasons() -> Iterator[str]:
    again = {"Never": "never", "Counted": "counted", "Exempt": "exempt", "ExemptOnce": "exempt once", None: ""}
    turns = {"User": "the author", "Platform": "the platform team", "Nobody": "nobody"}
    yield "## Reasons\n"
    yield "Each is explained in [Troubleshooting](troubleshooting.md#reasons).\n"
    yield "| reason | what it says | said by | who acts first | another attempt |"
    yield "|---|---|---|---|---|"
    for name, row in REASONS.items():
        said_by = ", ".join(speaker.lower() for speaker in row.said_by)
        yield f"| `{name}` | {_cell(row.meaning)} | {said_by} | {turns[row.turn]} | {again[row.retry]} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the page."""
    return write_or_check({PAGE: page()}, arguments, "Makes the page on the API.")


if __name__ == "__main__":
    sys.exit(main())
