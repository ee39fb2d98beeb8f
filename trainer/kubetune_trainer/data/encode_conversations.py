"""Tokenizes conversations; a prompt with its completion is one of two turns.

What the model is given is encoded as it is when the model is asked, so an answer begins at a token of its own. Texts
are data: what looks like a control token in them is encoded as the letters it is made of.
"""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kubetune_trainer.data.continuation import continued
from kubetune_trainer.data.conversation import Message, messages_of, with_texts
from kubetune_trainer.data.encode import chunks, control_token
from kubetune_trainer.data.prompt_format import PromptFormat
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.script import Script, Scripts, scripts_for
from kubetune_trainer.data.special_tokens import SpecialTokens
from kubetune_trainer.data.tokens import EncodedRow, Tokens, gathered


def encode_conversations(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Tokens:
    """The field `messages` of each row, or `prompt` with `completion`, cut on the right at `max_length` tokens."""
    encoder = _Encoder(tokenizer, max_length, rows)
    return gathered(map(encoder.encode, chunks(rows)))


@dataclass(frozen=True)
class _Spoken:
    """A row on its way."""

    row: Row
    messages: list[Message]
    script: Script


@dataclass(frozen=True)
class _Border:
    """A place between what is read and what is learned, in characters."""

    place: int
    since: int
    """The number of the last control token before it, whose text and all behind it are encoded alone to compare."""
    text: str


class _Encoder:
    def __init__(self, tokenizer: Any, max_length: int, rows: Sequence[Row]) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.format = PromptFormat.of(tokenizer)
        self.special = SpecialTokens(tokenizer, also=(self.format.end,))
        self.scripts: Scripts = scripts_for(tokenizer, self.format, rows)
        self._markers: dict[str, int] = {}

    def encode(self, chunk: Sequence[Row]) -> list[EncodedRow]:
        spoken = [self._spoken(row) for row in chunk]
        whole = self._encodings([one.script.text for one in spoken])
        borders = [self._borders(one.script, encoding) for one, encoding in zip(spoken, whole, strict=True)]
        alone = iter(self._encodings([border.text for of_row in borders for border in of_row]))
        tokens = [
            [_tokens_before(border, next(alone).ids, encoding) for border in of_row]
            for of_row, encoding in zip(borders, whole, strict=True)
        ]
        return [self._row(*known) for known in zip(spoken, whole, borders, tokens, strict=True)]

    def _spoken(self, row: Row) -> _Spoken:
        messages = messages_of(row)
        return _Spoken(row, messages, self.scripts.of(messages, row.where))

    def _borders(self, script: Script, encoding: Any) -> list[_Border]:
        offsets, control = encoding.offsets, self.special.places(encoding.ids)
        found = []
        for place in _inner(script):
            since = max((number for number in control if offsets[number][1] <= place), default=0)
            begin = offsets[since][0] if since else 0
            found.append(_Border(place, since, script.text[begin:place]))
        return found

    def _row(self, spoken: _Spoken, whole: Any, borders: list[_Border], tokens: list[int | None]) -> EncodedRow:
        script = spoken.script
        if self.special.count(whole.ids) != self._expected(spoken.messages, spoken.row.where):
            return self._defused(spoken)
        places = {0: 0, len(script.text): len(whole.ids)}
        for border, count in zip(borders, tokens, strict=True):
            if count is None:
                # A token over a border: what is given stays as it is when the model is asked.
                return self._cut(script, *self._in_parts(script))
            places[border.place] = count
        return self._cut(script, whole.ids, places)

    def _defused(self, spoken: _Spoken) -> EncodedRow:
        """A row whose data spells a special token, alone or together with the format's own text."""
        where = spoken.row.where
        for script in self._carefully(spoken.messages, where):
            ids, places = self._in_parts(script)
            if self.special.count(ids) == self._expected(spoken.messages, where):
                return self._cut(script, ids, places)
        raise control_token(spoken.row)

    def _carefully(self, messages: Sequence[Message], where: str) -> Iterator[Script]:
        """Cut wherever the data spells a special token; then also where it meets the format's own text, and in the
        form that a tokenizer may give the text."""
        yield self.scripts.cut(messages, where, self.special.cut)
        normal = with_texts(messages, lambda text: unicodedata.normalize("NFKC", text))
        yield self.scripts.cut(normal, where, self._cut_everywhere)

    def _cut_everywhere(self, text: str) -> list[str]:
        inner = text.strip()
        before, _, after = text.partition(inner) if inner else (text, "", "")
        # A template that strips a text must still find its outer spaces.
        return [before, *self.special.cut(inner), after]

    def _in_parts(self, script: Script) -> tuple[list[int], dict[int, int]]:
        """The tokens, none of them over a border, and how many stand before each border."""
        ids: list[int] = []
        places = {0: 0}
        for start, end in pairwise(sorted({0, len(script.text), *_inner(script), *script.cuts})):
            ids += continued([script.text[start:end]], self._ids, before=script.text[:start])
            places[end] = len(ids)
        return ids, places

    def _cut(self, script: Script, spoken: Sequence[int], places: dict[int, int]) -> EncodedRow:
        first, last = self.format.first_ids, self.format.last_ids
        ids = [*first, *spoken, *last]
        # Nothing stands before the first token that it could be predicted from.
        learned = [(max(1, len(first) + places[start]), len(first) + places[end]) for start, end in script.learned]
        if learned and script.learned[-1][1] == len(script.text):
            learned[-1] = learned[-1][0], len(ids)
        return EncodedRow(
            ids[: self.max_length],
            truncated=len(ids) > self.max_length,
            learned=learned,
            answers=script.answers,
            only_read=script.only_read,
        )

    def _expected(self, messages: Sequence[Message], where: str) -> int:
        """How many special tokens the format itself writes into a conversation of such turns."""
        harmless = with_texts(messages, lambda text: "a" if text.strip() else text)
        shape = json.dumps(harmless)
        if shape not in self._markers:
            self._markers[shape] = self.special.count(self._ids(self.scripts.of(harmless, where).text))
        return self._markers[shape]

    def _ids(self, text: str) -> list[int]:
        (encoding,) = self._encodings([text])
        return encoding.ids  # type: ignore[no-any-return]

    def _encodings(self, texts: list[str]) -> list[Any]:
        if not texts:
            return []
        batch = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=not self.format.templated,
            verbose=False,
        )
        return batch.encodings  # type: ignore[no-any-return]


def _inner(script: Script) -> list[int]:
    """The borders within the text."""
    return sorted({place for span in script.learned for place in span} - {0, len(script.text)})


def _tokens_before(border: _Border, alone: Sequence[int], whole: Any) -> int | None:
    """How many tokens stand before a border; None if one reaches over it, or they would be others without the rest."""
    count = border.since + len(alone)
    if whole.ids[border.since : count] != list(alone) or (
        count > 0 and whole.token_to_chars(count - 1)[1] > border.place
    ):
        return None
    return count
