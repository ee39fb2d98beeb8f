"""The calls of tools in a message, in the one form that chat templates read."""

import json
import re
from typing import Any

from kubetune_trainer.data.values import kind_of, quoted
from kubetune_trainer.errors import invalid_data

_NAME = re.compile(r"[\w.:/-]{1,128}")
"""Of functions and calls: no control token is spelled so."""


def tool_calls(calls: object, at: str) -> list[dict[str, Any]]:
    """`calls` of a message, judged; `at` is its place."""
    if not isinstance(calls, list):
        raise invalid_data(f"{at}, has {kind_of(calls)} as its tool_calls; write a list of calls")
    return [_call(call, f"{at}, tool call {number}") for number, call in enumerate(calls, start=1)]


def named(name: object, what: str, at: str) -> str:
    """The name of a function, or the id of a call."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid_data(f"{at}, has no {what} of letters, digits and _ . : / - alone; write one")
    return name


def _call(call: object, at: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise invalid_data(f'{at}, is {kind_of(call)}; write {{"function": {{"name": …, "arguments": {{…}}}}}}')
    function = call.get("function") or call
    if not isinstance(function, dict):
        raise invalid_data(f"{at}, has {kind_of(function)} as its function; write its name and arguments")
    made: dict[str, Any] = {
        "type": "function",
        "function": {
            "name": named(function.get("name"), "function name", at),
            "arguments": _plain(_arguments(function.get("arguments"), at), at),
        },
    }
    return made if call.get("id") is None else {"id": named(call["id"], "id", at), **made}


def _arguments(given: object, at: str) -> dict[str, Any]:
    """An object, or its JSON, as OpenAI's interface has it."""
    arguments = _parsed(given, at) if isinstance(given, str) else given
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise invalid_data(f"{at}, has {kind_of(arguments)} as its arguments; write an object")
    return arguments


def _parsed(text: str, at: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_data(
            f"{at}, has the arguments {quoted(text)}, which are not JSON; write an object, or its JSON"
        ) from error


def _plain(value: Any, at: str) -> Any:
    """The value as JSON has it, without nulls: Parquet has every key in every object, and cannot say which ones were
    meant."""
    if isinstance(value, list):
        return [_plain(item, at) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, at) for key, item in value.items() if item is not None}
    if value is not None and not isinstance(value, str | int | float):
        raise invalid_data(f"{at}, has {kind_of(value)} in its arguments, which JSON cannot say; write it as a string")
    return value
