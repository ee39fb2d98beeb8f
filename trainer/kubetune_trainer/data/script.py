"""A conversation as the text that the model reads, and what of it the model learns to write.

Where a chat template does not mark what the assistant writes, it is asked turn by turn: an answer is learned where the
conversation up to it, and the answer itself, stand in the whole as they do when the model is asked for it. Many
templates write earlier answers differently (they drop reasoning, or move the system message): those are only read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kubetune_trainer.data.chat_template import TemplateError, marks_answers, rendered, rendered_with_answers
from kubetune_trainer.data.conversation import FIELD, Message, answers_of, with_texts
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

    def of(self, messages: Sequence[Message], where: str) -> Script:
        try:
            if self.marked:
                return self._by_marks(messages)
            return self._by_turns(messages, where)
        except TemplateError as error:
            raise invalid_data(
                f"{where}: the model's chat template does not take the conversation ({error}); change its turns, or use"
                " a model whose template takes them"
            ) from error

    def cut(self, messages: Sequence[Message], where: str, cut: Cut) -> Script:
        script = self.of(messages, where)
        mark = next(mark for mark in _MARKS if mark not in script.text)
        try:
            marked = self._whole(rendered(self.tokenizer, with_texts(messages, lambda text: mark.join(cut(text)))))
        except TemplateError:
            return script
        parts = marked.split(mark)
        # Not so where the template looks for what was cut.
        if "".join(parts) != script.text:
            return script
        return replace(script, cuts=tuple(sum(map(len, parts[:count])) for count in range(1, len(parts))))

    def _by_marks(self, messages: Sequence[Message]) -> Script:
        whole, spans = rendered_with_answers(self.tokenizer, messages)
        text, spans = self._whole(whole), [span for span in spans if span[0] < span[1]]
        if self.form.closing:
            learned = tuple(self._with_end(text, *span) for span in spans)
        else:
            # What the template ends with no token of its own could only be learned not to end.
            learned = tuple((start, len(text)) for start, _ in spans[-1:])
        return Script(text, learned, answers=len(spans), only_read=len(spans) - len(learned))

    def _by_turns(self, messages: Sequence[Message], where: str) -> Script:
        *earlier, last = answers_of(messages)
        text, given = self._whole(rendered(self.tokenizer, messages)), self._asking(messages[:last])
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


def _another_beginning(where: str) -> RunError:
    return invalid_data(
        f"{where}: the model's chat template does not begin the conversation the way it begins one that waits for its"
        " last answer, so what the model would learn is not what it is asked later; change its turns, or remove the row"
    )
