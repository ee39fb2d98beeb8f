"""A conversation as the text that the model reads, and what of it the model learns to write.

Where a chat template does not mark what the assistant writes, it is asked turn by turn: an answer is learned where the
conversation up to it, and the answer itself, stand in the whole as they do when the model is asked for it. Many
templates write earlier answers differently (they drop reasoning, or move the system message): those are only read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kubetune_trainer.data.chat_template import TemplateError, marks_answers, rendered, rendered_with_answers
from kubetune_trainer.data.conversation import FIELD, Message, answers_of, first_question, with_texts
from kubetune_trainer.data.prompt_format import PromptFormat
from kubetune_trainer.data.rows import Row
from kubetune_trainer.errors import RunError, invalid_data, invalid_model

Cut = Callable[[str], Sequence[str]]
"""A text of the data in parts, over whose borders no token may reach."""

_MARKS = "".join(map(chr, range(0xFDD0, 0xFDF0)))
"""Characters that no text may have, by Unicode's own word."""


@dataclass(frozen=True)
class Script:
    """One conversation."""

    text: str
    learned: tuple[tuple[int, int], ...]
    """From which character to which the model learns to write, in their order."""
    cuts: tuple[int, ...] = ()
    """Characters before which the text is cut."""
    answers: int = 1
    only_read: int = 0
    """How many of the answers are not learned."""


class Scripts(Protocol):
    """How the conversations of a dataset become text. `where` is the place of one, for messages."""

    def of(self, messages: Sequence[Message], where: str) -> Script:
        """The text."""

    def cut(self, messages: Sequence[Message], where: str, cut: Cut) -> Script:
        """The same text with all that its author could write at will cut."""


def scripts_for(tokenizer: Any, form: PromptFormat, rows: Sequence[Row]) -> Scripts:
    """By the model's chat template; without one a completion follows its prompt."""
    if form.templated:
        return _ByTemplate(tokenizer, form)
    if rows and FIELD in rows[0].names:
        raise invalid_model(
            "spec.dataset.columns.messages: the model has no chat template, which says how it reads a conversation; use"
            " a model that was made for chats, put a chat_template into its tokenizer_config.json, or name the columns"
            " prompt and completion instead"
        )
    return _OneAfterTheOther()


class _OneAfterTheOther:
    def of(self, messages: Sequence[Message], where: str) -> Script:
        return self.cut(messages, where, lambda text: (text,))

    def cut(self, messages: Sequence[Message], where: str, cut: Cut) -> Script:  # noqa: ARG002 - any two texts follow one another
        prompt, completion = (cut(message["content"]) for message in messages)
        text, border = "".join([*prompt, *completion]), sum(map(len, prompt))
        places, cuts = 0, []
        for part in (*prompt, *completion):
            places += len(part)
            cuts.append(places)
        return Script(text, ((border, len(text)),), tuple(cuts))


class _ByTemplate:
    def __init__(self, tokenizer: Any, form: PromptFormat) -> None:
        self.tokenizer = tokenizer
        self.form = form
        self.marked = marks_answers(tokenizer)
        self._written: set[tuple[object, ...]] = set()

    def of(self, messages: Sequence[Message], where: str) -> Script:
        self._refuse_unwritten(messages, where)
        try:
            script = self._by_marks(messages) if self.marked else self._by_turns(messages, where)
        except TemplateError as error:
            raise invalid_data(
                f"{where}: the model's chat template does not take the conversation ({error}); change its turns, or use"
                " a model whose template takes them"
            ) from error
        if not script.learned:
            raise invalid_data(
                f"{where}: the model's chat template marks no answer of the conversation with {{% generation %}}, so"
                " there is nothing to learn from it; remove the row, or use a model whose template marks such answers"
            )
        return script

    def cut(self, messages: Sequence[Message], where: str, cut: Cut) -> Script:
        script = self.of(messages, where)
        mark = _mark_for(script.text)
        try:
            marked = self._text(with_texts(messages, lambda text: mark.join(cut(text))))
        except TemplateError:
            return script
        parts = marked.split(mark)
        # Not so where the template looks for what was cut.
        if "".join(parts) != script.text:
            return script
        return replace(script, cuts=tuple(sum(map(len, parts[:count])) for count in range(1, len(parts))))

    def _by_marks(self, messages: Sequence[Message]) -> Script:
        whole, marked = rendered_with_answers(self.tokenizer, messages)
        text, header, asked = self._whole(whole), self._header(messages), self._asked(messages, whole)
        answers = [(_behind(header, text, start), end) for start, end in marked if start >= asked]
        spans = [(start, end) for start, end in answers if start < end]
        if self.form.closing:
            learned = tuple(self._with_end(text, *span) for span in spans)
        else:
            # What the template ends with no token of its own could only be learned not to end.
            learned = tuple((start, len(text)) for start, _ in spans[-1:])
        return Script(text, learned, answers=len(spans), only_read=len(spans) - len(learned))

    def _by_turns(self, messages: Sequence[Message], where: str) -> Script:
        *earlier, last = answers_of(messages)
        text, given = self._text(messages), self._asking(messages[:last])
        if not text.startswith(given):
            raise _another_beginning(where)
        found = [span for place in earlier if (span := self._earlier(messages, place, text))]
        return Script(
            text, (*found, (len(given), len(text))), answers=len(earlier) + 1, only_read=len(earlier) - len(found)
        )

    def _earlier(self, messages: Sequence[Message], place: int, text: str) -> tuple[int, int] | None:
        """Where an answer is that others follow; None if the model would be asked for it differently."""
        try:
            given, own = self._asking(messages[:place]), rendered(self.tokenizer, messages[: place + 1])
        except TemplateError:
            return None
        if not self.form.closing or not own.startswith(given) or not own.endswith(self.form.written):
            return None
        ended = own.removesuffix(self.form.written) + self.form.closing
        return (len(given), len(ended)) if text.startswith(ended) else None

    def _text(self, messages: Sequence[Message]) -> str:
        """The conversation, the last answer of which stands behind what the model is given for it."""
        text = self._whole(rendered(self.tokenizer, messages))
        if self.marked or messages[0]["role"] != "system":
            return text
        given, last = self._asking(messages[: answers_of(messages)[-1]]), answers_of(messages[1:])[-1]
        if text.startswith(given):
            return text
        # Some of Mistral's write the system message into the last question, and that only while it waits.
        bare, asked = self._whole(rendered(self.tokenizer, messages[1:])), self._asking(messages[1 : last + 1])
        return given + bare.removeprefix(asked) if bare.startswith(asked) else text

    def _refuse_unwritten(self, messages: Sequence[Message], where: str) -> None:
        """RunError where the template passes over a message: each has its own word here, so none stands for another."""
        shape = tuple(
            (*one, one["role"], bool(one["content"].strip()), len(one.get("tool_calls", ()))) for one in messages
        )
        if shape in self._written:
            return
        named = [_named(message, number) for number, message in enumerate(messages, start=1)]
        try:
            text = rendered(self.tokenizer, named) + self._asking(named[: answers_of(named)[-1]])
        except TemplateError:
            # Of the conversation itself, or of the words: the template looks for others.
            return
        for number, message in enumerate(named, start=1):
            if any(call["function"]["name"] not in text for call in message.get("tool_calls", ())):
                raise _unwritten(where, "calls of tools", number)
            if message["content"].strip() and message["content"] not in text:
                beside = "what the assistant says beside calls of tools"
                role = f"messages of the role {message['role']!r}"
                raise _unwritten(where, beside if "tool_calls" in message else role, number)
        self._written.add(shape)

    def _header(self, messages: Sequence[Message]) -> str:
        """What the template writes where the model is to answer."""
        before = messages[: answers_of(messages)[-1]]
        asked, waiting = rendered(self.tokenizer, before), self._asking(before)
        return waiting.removeprefix(asked) if waiting.startswith(asked) else ""

    def _asked(self, messages: Sequence[Message], text: str) -> int:
        """Where the first question stands; 0 if the assistant says nothing before it."""
        place = first_question(messages)
        if all(message["role"] != "assistant" for message in messages[:place]):
            return 0
        mark = _mark_for(text)
        question = {**messages[place], "content": mark + messages[place]["content"]}
        other = rendered(self.tokenizer, [*messages[:place], question, *messages[place + 1 :]])
        return other.find(mark)

    def _asking(self, messages: Sequence[Message]) -> str:
        return rendered(self.tokenizer, messages, asking=True)

    def _whole(self, text: str) -> str:
        """The text of a conversation with the end of its last answer, where the template does not write it."""
        if self.form.written == self.form.after:
            return text
        return text.removesuffix(self.form.written) + self.form.after

    def _with_end(self, text: str, start: int, end: int) -> tuple[int, int]:
        """A span with what ends an answer, where the template's mark stops before it."""
        closing = self.form.closing
        for marked in range(len(closing), -1, -1):
            if text[start:end].endswith(closing[:marked]) and text.startswith(closing[marked:], end):
                return start, end + len(closing) - marked
        return start, end


def _mark_for(text: str) -> str:
    """One that the text does not have."""
    return next(mark for mark in _MARKS if mark not in text)


def _behind(header: str, text: str, start: int) -> int:
    """The beginning of an answer whose mark begins at `start`, maybe within or before its header."""
    for outside in range(len(header), -1, -1):
        if text[:start].endswith(header[:outside]) and text.startswith(header[outside:], start):
            return start + len(header) - outside
    return start


def _named(message: Message, number: int) -> Message:
    """The message with words in it that no other has."""
    named = dict(message)
    if message["content"].strip():
        named["content"] = f"KUBETUNE-{number}-SAID"
    if "tool_calls" in message:
        named["tool_calls"] = [
            {**call, "function": {**call["function"], "name": f"KUBETUNE-{number}-{place}-CALLED"}}
            for place, call in enumerate(message["tool_calls"])
        ]
    return named


def _unwritten(where: str, what: str, number: int) -> RunError:
    return invalid_data(
        f"{where}: the model's chat template does not write {what} (message {number}), so the model would never read"
        " them nor learn them; use a model whose template writes them, or leave them out of the conversation"
    )


def _another_beginning(where: str) -> RunError:
    return invalid_data(
        f"{where}: the model's chat template does not begin the conversation the way it begins one that waits for its"
        " last answer, so what the model would learn is not what it is asked later; change its turns, or remove the row"
    )
