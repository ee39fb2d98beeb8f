"""A conversation in a cell: who says what. It is judged where it is read, and kept as JSON in one form.

The keys are those of OpenAI's interface, which the models' chat templates read; those of ShareGPT (`from`, `value`) are
taken as well.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from kubetune_trainer.data.rows import Column, Row, Texts
from kubetune_trainer.data.tool_calls import named, tool_calls
from kubetune_trainer.data.values import bounded, kind_of, quoted
from kubetune_trainer.errors import invalid_data

Message = dict[str, Any]
"""`role` and `content`, and what else a template may read: `tool_calls`, `tool_call_id`, `name`, reasoning."""

FIELD = "messages"
"""The field of a row."""
ROLES = ("system", "user", "assistant", "tool")
REASONING = ("reasoning_content", "reasoning", "thinking")
"""What templates call the thoughts of the assistant before it speaks."""
_TEXTS = ("content", "name", *REASONING)
_ASKING = ("user", "tool")
_SHARE_GPT = {"human": "user", "gpt": "assistant"}
_COUNTED = ("weight", "train", "training", "loss")
"""How trainers call whether an answer is learned."""


def conversation_of(value: object, column: Column, where: str) -> str | None:
    """A cell of the column `messages`; one without a message is missing."""
    at = f"{where}: the column {quoted(column.name)} ({column.field})"
    if isinstance(value, str) and value.strip():
        value = _parsed(value, at)
    if value is None or value in ("", []) or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, list):
        raise invalid_data(
            f"{at} holds {kind_of(value)}; a conversation is a list of messages,"
            ' [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
        )
    messages = [_message(entry, f"{at}, message {number}") for number, entry in enumerate(value, start=1)]
    if not answers_of(messages):
        raise invalid_data(
            f"{at} holds no message of the assistant after one of the user, so there is nothing to learn from it;"
            " remove the row, or correct the roles"
        )
    return bounded(_cell(messages), column, where)


def messages_of(row: Row) -> list[Message]:
    """The conversation of a row, up to its last answer; a prompt and its completion are one as well."""
    if FIELD not in row.names:
        return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    messages: list[Message] = json.loads(row[FIELD])
    return messages[: answers_of(messages)[-1] + 1]


def question_of(row: Row) -> Sequence[str]:
    """What stands before the first answer."""
    if FIELD not in row.names:
        return (row["prompt"],)
    messages = messages_of(row)
    return [message["content"] for message in messages[: answers_of(messages)[0]]]


def answers_of(messages: Sequence[Message]) -> list[int]:
    """The places of the messages that answer somebody: those of the assistant, but for a greeting."""
    asked = first_question(messages)
    return [place for place, message in enumerate(messages) if place > asked and message["role"] == "assistant"]


def first_question(messages: Sequence[Message]) -> int:
    """The place of the first message that the assistant answers."""
    return sum(1 for _ in takewhile(lambda message: message["role"] not in _ASKING, messages))


def texts_of(row: Row) -> Sequence[str]:
    """The texts of the messages."""
    return [message["content"] for message in messages_of(row)]


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    return {change(key): mapped(item, change) for key, item in value.items()} if isinstance(value, dict) else value


def with_texts(messages: Sequence[Message], change: Callable[[str], str]) -> list[Message]:
    """The conversation with all changed that its author could write at will: texts and the arguments of calls."""
    return [_changed(message, change, calls=True) for message in messages]


def _normalized(value: str, change: Callable[[str], str]) -> str:
    return _cell([_changed(message, change, calls=False) for message in json.loads(value)])


def _needed(value: str) -> Iterator[str]:
    spoken = (message for message in json.loads(value) if message["role"] in ("user", "assistant"))
    return (message["content"] for message in spoken if "tool_calls" not in message)


def _said(value: str) -> str:
    said = (message for message in json.loads(value) if message["role"] == "assistant")
    return "".join(message["content"] + "".join(map(json.dumps, message.get("tool_calls", ()))) for message in said)


TEXTS = Texts(_normalized, lambda value: list(_needed(value)), _said)
"""Of a conversation: what the user and the assistant say must not be blank, but for a call of tools."""


def _changed(message: Message, change: Callable[[str], str], *, calls: bool) -> Message:
    changed = {key: change(text) if key in _TEXTS else text for key, text in message.items()}
    if calls and "tool_calls" in message:
        changed["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": mapped(call["function"]["arguments"], change)}}
            for call in message["tool_calls"]
        ]
    return changed


def _cell(messages: Sequence[Message]) -> str:
    return json.dumps(messages, ensure_ascii=False)


def _parsed(text: str, at: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_data(
            f"{at} holds a text that is not JSON; write the list of messages itself, or its JSON (in Python json.dumps,"
            " not str)"
        ) from error


def _message(entry: object, at: str) -> Message:
    if not isinstance(entry, dict):
        raise invalid_data(f"{at}, is {kind_of(entry)}; a message is an object with a role and a content")
    # Parquet has every key in every message.
    given = {key: value for key, value in entry.items() if value is not None}
    message: Message = {"role": _role(given, at), "content": _content(given, at)}
    if message["role"] == "assistant":
        _refuse_excluded(given, at)
    message |= {key: _text(given[key], key, at) for key in ("name", *REASONING) if key in given}
    if "tool_call_id" in given:
        message["tool_call_id"] = named(given["tool_call_id"], "tool_call_id", at)
    if given.get("tool_calls") and message["role"] == "assistant":
        message["tool_calls"] = tool_calls(given["tool_calls"], at)
    return message


def _refuse_excluded(given: Mapping[str, Any], at: str) -> None:
    """RunError where the answer is meant to be read and not learned."""
    for key in _COUNTED:
        if given.get(key) == 0:
            raise invalid_data(
                f"{at}, has the {key} {json.dumps(given[key])}, which is not supported: every answer is learned; remove"
                " the turn, or end the conversation before it"
            )


def _role(given: Mapping[str, Any], at: str) -> str:
    named = given.get("role", given.get("from"))
    role = _SHARE_GPT.get(str(named), named) if "role" not in given else named
    if role not in ROLES:
        has = "no role" if named is None else f"the role {quoted(str(named))}"
        raise invalid_data(f"{at}, has {has}; write one of system, user, assistant and tool")
    assert isinstance(role, str)
    return role


def _content(given: Mapping[str, Any], at: str) -> str:
    content = given.get("content", given.get("value") if "role" not in given else None)
    if content is None and given.get("tool_calls"):
        return ""
    if content is None:
        raise invalid_data(f"{at}, has no content; write what is said")
    return _text(content, "content", at)


def _text(value: object, key: str, at: str) -> str:
    if not isinstance(value, str):
        parts = " (parts of pictures and sounds are not trained on)" if isinstance(value, list) else ""
        raise invalid_data(f"{at}, has {kind_of(value)} as its {key}; write a string{parts}")
    return value
