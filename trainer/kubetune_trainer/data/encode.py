"""Tokenizes the rows of a split.

Texts are data: what looks like a special token in them (`[SEP]`, `<|im_end|>`) is encoded as the letters it is made of.
A row that nevertheless comes out with more special tokens than its format has is encoded again, more carefully.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from kubetune_trainer.data.continuation import continued
from kubetune_trainer.data.prompt_format import PromptFormat
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.special_tokens import SpecialTokens
from kubetune_trainer.data.tokens import EncodedRow, Tokens, gathered
from kubetune_trainer.errors import invalid_data

CHUNK_ROWS = 2048
"""Rows handed to the tokenizer at a time: enough to keep its threads busy, few enough to keep its objects small."""


def encode_texts(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Tokens:
    """The field `text` of each row, and `text_pair` where they have it, cut at `max_length` tokens.

    Each with the special tokens that the model expects.
    """
    encoder = _TextEncoder(tokenizer, max_length, paired=bool(rows) and "text_pair" in rows[0].names)
    return gathered(map(encoder.encode, _chunks(rows)), typed=encoder.typed)


def encode_completions(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Tokens:
    """The field `prompt` of each row with its `completion`, cut on the right at `max_length` tokens.

    The prompt is encoded as it is when the model is asked, so the completion begins at a token of its own.
    """
    encoder = _CompletionEncoder(tokenizer, max_length)
    return gathered(map(encoder.encode, _chunks(rows)))


class _TextEncoder:
    def __init__(self, tokenizer: Any, max_length: int, *, paired: bool) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.paired = paired
        self.typed = paired and "token_type_ids" in tokenizer.model_input_names
        self.special = SpecialTokens(tokenizer)
        self.markers = self.special.count(self._batch(["a"], ["a"])[0].ids)

    def encode(self, chunk: Sequence[Row]) -> list[EncodedRow]:
        encoded = self._batch([row["text"] for row in chunk], [self._second(row) for row in chunk])
        return [
            done if self.special.count(done.ids) == self.markers else self._defused(row)
            for row, done in zip(chunk, encoded, strict=True)
        ]

    def _defused(self, row: Row) -> EncodedRow:
        (encoded,) = self._batch([self.special.defused(row["text"])], [self.special.defused(self._second(row))])
        if self.special.count(encoded.ids) != self.markers:
            raise _control_token(row)
        return encoded

    def _second(self, row: Row) -> str:
        return row["text_pair"] if self.paired else ""

    def _batch(self, texts: list[str], others: list[str]) -> list[EncodedRow]:
        batch = self.tokenizer(
            texts,
            others if self.paired else None,
            truncation=True,
            max_length=self.max_length,
            return_token_type_ids=self.typed,
            return_attention_mask=False,
            split_special_tokens=True,
        )
        types = batch["token_type_ids"] if self.typed else [None] * len(texts)
        return [
            EncodedRow(ids, truncated=bool(encoding.overflowing), types=row_types)
            for ids, encoding, row_types in zip(batch["input_ids"], batch.encodings, types, strict=True)
        ]


class _CompletionEncoder:
    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.format = PromptFormat.of(tokenizer)
        self.special = SpecialTokens(tokenizer, also=(self.format.end,))
        self.markers = self.special.count(self._ids(self.format.prompt("a") + self.format.completion("a")))

    def encode(self, chunk: Sequence[Row]) -> list[EncodedRow]:
        prompts = [self.format.prompt(row["prompt"]) for row in chunk]
        answers = [self.format.completion(row["completion"]) for row in chunk]
        asked = self._encodings(prompts)
        whole = self._encodings([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)])
        return [self._row(*texts) for texts in zip(chunk, prompts, answers, asked, whole, strict=True)]

    def _row(self, row: Row, prompt: str, answer: str, given: Any, whole: Any) -> EncodedRow:
        asked, ids = given.ids, whole.ids
        if self.special.count(ids) != self.markers:
            return self._defused(row)
        if ids[: len(asked)] == asked and not _reaches_over(whole, len(asked), len(prompt)):
            return self._cut(asked, ids[len(asked) :])
        # A token over the border of prompt and answer: the prompt stays as it is when the model is asked.
        return self._cut(asked, continued([answer], self._ids, before=prompt))

    def _defused(self, row: Row) -> EncodedRow:
        """A row whose data spells a special token, alone or together with the format's own text."""
        prompt, answer = self.format.pieces(row["prompt"], row["completion"])
        for cut in (self._cut_inside, self._cut_everywhere):
            asked = continued(cut(*prompt), self._ids)
            answered = continued(cut(*answer), self._ids, before="".join(prompt))
            if self.special.count(asked) + self.special.count(answered) == self.markers:
                return self._cut(asked, answered)
        raise _control_token(row)

    def _cut_inside(self, before: str, text: str, after: str) -> list[str]:
        """Cut wherever the data spells a special token."""
        first, *others = self.special.cut(text)
        parts = [before + first, *others]
        return [*parts[:-1], parts[-1] + after]

    def _cut_everywhere(self, before: str, text: str, after: str) -> list[str]:
        """Also where the data meets the format's own text, and in the form that a tokenizer may give the text."""
        return [before, *self.special.cut(unicodedata.normalize("NFKC", text)), after]

    def _cut(self, asked: list[int], answered: list[int]) -> EncodedRow:
        first, last = self.format.first_ids, self.format.last_ids
        ids = [*first, *asked, *answered, *last]
        # Nothing stands before the first token that it could be predicted from.
        begin = max(1, len(first) + len(asked))
        return EncodedRow(ids[: self.max_length], truncated=len(ids) > self.max_length, target_from=begin)

    def _ids(self, text: str) -> list[int]:
        (encoding,) = self._encodings([text])
        return encoding.ids  # type: ignore[no-any-return]

    def _encodings(self, texts: list[str]) -> list[Any]:
        batch = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=not self.format.templated,
            verbose=False,
        )
        return batch.encodings  # type: ignore[no-any-return]


def _reaches_over(encoding: Any, tokens: int, border: int) -> bool:
    """Whether the last of so many tokens takes in what stands behind the border, in characters."""
    return tokens > 0 and encoding.token_to_chars(tokens - 1)[1] > border


def _control_token(row: Row) -> Exception:
    return invalid_data(
        f"{row.where}: the text spells a control token of the model in a way that cannot be distinguished from the"
        " token; remove it from the text"
    )


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]
