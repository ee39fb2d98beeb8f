"""What pydantic finds wrong, in sentences for the manifest's author: the value as written, the error, the remedy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from kubetune_api.aliases import Alias, Means, NotYet, ValueAlias, field_alias, fitting, value_alias
from kubetune_api.base import WORDS_KEY
from kubetune_api.errors import Path, path_text, show
from kubetune_api.schema import Schema, at, default_text, fields
from kubetune_api.text import plural
from kubetune_api.yaml_scalars import ScalarError, resolve_plain


@dataclass(frozen=True)
class _Case:
    """One error, with all that a sentence may need."""

    path: Path
    value: Any
    context: dict[str, Any]
    root: Schema
    written: str | None
    """The text of the value, if it stands in the manifest without quotes."""

    @property
    def schema(self) -> Schema:
        return at(self.root, self.path) or {}

    @property
    def shown(self) -> str:
        return show(self.value) if self.written is None or isinstance(self.value, str) else self.written


def sentence(error: ErrorDetails, root: Schema, written: str | None) -> str:
    """The sentence for an error at a value that stands as `written` in the manifest, by the schema of its kind."""
    case = _Case(error["loc"], error["input"], error.get("ctx", {}), root, written)
    say = _SENTENCES.get(error["type"])
    return say(case) if say else f"{case.shown}: {error['msg']}"


_ALIKE = 0.8
"""How much alike two names are, 0 to 1, where one is taken for a slip of the other."""


def closest(name: str, known: Sequence[str]) -> str | None:
    """The known name that a misspelt one probably means."""
    lower = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(_camel(name).lower(), lower, n=1, cutoff=_ALIKE)
    return lower[found[0]] if found else None


def _camel(name: str) -> str:
    return to_camel(name) if "_" in name else name


def not_one_of(shown: str, value: object, known: Sequence[str]) -> str:
    """The sentence for a value that is none of the known ones."""
    meant = closest(value, known) if isinstance(value, str) else None
    if meant:
        return f"{shown} is not known; did you mean `{meant}`?"
    return f"{shown} is not known; give {_choice(known)}"


def _choice(known: Sequence[str]) -> str:
    return known[0] if len(known) == 1 else f"one of {', '.join(known)}"


def not_a_text(shown: str, value: object, written: str | None) -> str:
    """The sentence for a value where a text is wanted; the unquoted words of YAML that are none are the usual cause."""
    if isinstance(value, dict | list):
        return f"{shown} is not a text; give a text"
    if written == "" or written is None:
        return f"{shown or 'nothing'} is not a text; give a text in quotes"
    kind = "the boolean " if isinstance(value, bool) else "" if value is None else "the number "
    return f'without quotes, {written} is read as {kind}{show(value)}; quote it: "{written}"'


def _missing(case: _Case) -> str:
    schema = case.schema
    if len(schema.get("enum", ())) == 1:
        return f"missing; add `{case.path[-1]}: {schema['enum'][0]}`"
    what = str(schema.get("description", "")).split(". ")[0].rstrip(".")
    return f"missing; add `{case.path[-1]}`: {what[:1].lower()}{what[1:]}"


def _unknown(case: _Case) -> str:
    """What a field probably means: by the table of aliases, then by its exact name, then by a guess."""
    name = str(case.path[-1])
    here = list((at(case.root, case.path[:-1]) or {}).get("properties", {}))
    if _camel(name) in here:
        return f"unknown field; did you mean `{_camel(name)}`?"
    alias = field_alias(name, str(case.path[-2])) if len(case.path) > 1 and _is_job(case.root) else None
    if alias is not None:
        return _other_name(alias, case)
    elsewhere = [path for path, _ in fields(case.root) if path[-1] == _camel(name) and path[0] != "status"]
    if len(elsewhere) == 1:
        return f"unknown field here; did you mean `{path_text(elsewhere[0])}`?"
    if meant := closest(name, here):
        return f"unknown field; did you mean `{meant}`?"
    return f"unknown field; the fields here are {', '.join(here)}"


def _is_job(root: Schema) -> bool:
    return at(root, ("spec", "task")) is not None


def _other_name(alias: Alias, case: _Case) -> str:
    """The sentence for a field that has another trainer's name."""
    if isinstance(alias, NotYet):
        return f"{alias.what} is not supported yet; remove the field"
    if not isinstance(alias, Means):
        return f"not supported, because {alias.because}; remove the field"
    path = f"spec.{alias.path}"
    group, _, name = path.rpartition(".")
    note = f" ({alias.note})" if alias.note else ""
    if group == path_text(case.path[:-1]):
        return f"unknown field; did you mean `{name}`?{note}"
    return f"unknown field here; did you mean `{path}`?{note}"


def _other_value(alias: ValueAlias, case: _Case) -> str:
    """The sentence for a value that is another trainer's word."""
    if isinstance(alias, NotYet):
        return f"{case.shown}: {alias.what} is not supported yet; give {_choice(case.schema['enum'])}"
    note = f" ({alias.note})" if alias.note else ""
    return f"{case.shown} is not known; did you mean `{alias.path}`?{note}"


def _no_text(case: _Case) -> str:
    return not_a_text(case.shown, case.value, case.written)


def _no_number(case: _Case) -> str:
    if isinstance(case.value, str) and _is_number(case.value):
        return f"{case.shown} is a text, because it is quoted; remove the quotes"
    if isinstance(case.value, float) and case.value.is_integer():
        return f"{case.shown} does not fit into 64 bits; {_range(case.schema)}"
    what = "a whole number" if case.schema.get("type") == "integer" else "a number"
    return f"{case.shown or 'nothing'} is not {what}; {_range(case.schema)}"


def _no_boolean(case: _Case) -> str:
    if isinstance(case.value, str) and case.value.lower() in ("true", "false"):
        return f"{case.shown} is a text, because it is quoted; remove the quotes"
    return f"{case.shown} is neither true nor false; give one of the two"


def _no_list(case: _Case) -> str:
    if isinstance(case.value, dict):
        return "a group of fields is not a list; put `- ` before each item"
    return f"{case.shown} is not a list; put it into one: [{case.shown}]"


def _no_map(case: _Case) -> str:
    return f"{case.shown or 'nothing'} is not a map; indent lines like `key: value` below it"


def _no_group(case: _Case) -> str:
    known = ", ".join(case.schema.get("properties", {}))
    return f"{case.shown or 'nothing'} is not a group of fields; indent its fields below it: {known}"


def _no_choice(case: _Case) -> str:
    alias = value_alias(path_text(case.path[1:]), case.value) if isinstance(case.value, str) else None
    if alias is not None and _is_job(case.root):
        return _other_value(alias, case)
    return not_one_of(case.shown, case.value, case.schema["enum"])


def _no_match(case: _Case) -> str:
    # What is required is judged on the test split, and what chooses the weights on the other one.
    split = "validation" if case.path[-1] == "primaryMetric" else "test"
    meant = fitting(case.value, case.context["pattern"], dataset="dataset" in case.path, split=split)
    if meant is not None:
        return f"{case.shown} does not fit; did you mean `{meant}`?"
    return f"{case.shown} does not fit; give {case.schema.get(WORDS_KEY, 'what matches ' + case.context['pattern'])}"


def _short_text(case: _Case) -> str:
    if not case.value:
        return "the text is empty; give one"
    return f"{case.shown} has fewer than {plural(case.context['min_length'], 'character')}; give a longer text"


def _long_text(case: _Case) -> str:
    length, most = len(case.value), case.context["max_length"]
    return f"{case.shown} has {length} characters and may have {most}; shorten it"


def _short_list(case: _Case) -> str:
    return f"the list has {plural(len(case.value), 'item')}; give at least {case.context['min_length']}"


def _long_list(case: _Case) -> str:
    what, items = ("map", "entries") if isinstance(case.value, dict) else ("list", "items")
    length, most = len(case.value), case.context["max_length"]
    return f"the {what} has {length} {items} and may have {most}; shorten it"


def _out_of_range(relation: str, bound: str) -> Callable[[_Case], str]:
    def say(case: _Case) -> str:
        return f"{case.shown} is {relation} {_number(case.context[bound])}; {_range(case.schema)}"

    return say


def _broken_rule(case: _Case) -> str:
    given = "" if case.value is None or not isinstance(case.value, str | int | float) else f" (given: {case.shown})"
    return f"{case.context['error']}{given}"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum", False), schema.get("exclusiveMaximum", False)
    if low is None and high is None:
        return "give a number"
    if low is not None and high is not None and not above and not below:
        return f"give {_number(low)} to {_number(high)}"
    parts = []
    if low is not None:
        parts.append(f"{'more than' if above else 'at least'} {_number(low)}")
    if high is not None:
        parts.append(f"{'less than' if below else 'at most'} {_number(high)}")
    return f"give {' and '.join(parts)}"


def _number(value: float) -> str:
    return default_text(float(value)) if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    try:
        value = resolve_plain(text)
    except ScalarError:
        return False
    return isinstance(value, int | float) and not isinstance(value, bool)


_SENTENCES: dict[str, Callable[[_Case], str]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "string_type": _no_text,
    "int_type": _no_number,
    "float_type": _no_number,
    "bool_type": _no_boolean,
    "list_type": _no_list,
    "dict_type": _no_map,
    "model_type": _no_group,
    "literal_error": _no_choice,
    "string_pattern_mismatch": _no_match,
    "string_too_short": _short_text,
    "string_too_long": _long_text,
    "too_short": _short_list,
    "too_long": _long_list,
    "greater_than_equal": _out_of_range("less than", "ge"),
    "less_than_equal": _out_of_range("greater than", "le"),
    "greater_than": _out_of_range("not greater than", "gt"),
    "less_than": _out_of_range("not less than", "lt"),
    "rule": _broken_rule,
}
