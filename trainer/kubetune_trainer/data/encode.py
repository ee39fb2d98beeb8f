"""Tokenizes the rows of a split.

Texts are data: what looks like a special token in them (`[SEP]`, `<|im_end|>`) is encoded as the letters it is made of.
A row that nevertheless comes out with more special tokens than its format has is encoded again, more carefully.
"""

from collections.abc import Iterator, Sequence
from typing import Any

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
        self.special = SpecialTokens(tokenizer)
        self.markers = self.special.count(self._formatted([self.format.prompt("a") + self.format.completion("a")])[0])

    def encode(self, chunk: Sequence[Row]) -> list[EncodedRow]:
        prompts = [self.format.prompt(row["prompt"]) for row in chunk]
        answers = [self.format.completion(row["completion"]) for row in chunk]
        asked = self._formatted(prompts)
        whole = self._formatted([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)])
        return [self._row(row, *ids) for row, *ids in zip(chunk, asked, whole, strict=True)]

    def _row(self, row: Row, asked: list[int], whole: list[int]) -> EncodedRow:
        innocent = self.special.count(whole) == self.markers
        if innocent and whole[: len(asked)] == asked:
            return self._cut(asked, whole[len(asked) :])
        # A token over the border of prompt and answer would be cut, or the data spells a special token.
        prompt, answer = self.format.pieces(row["prompt"], row["completion"])
        asked, answered = asked if innocent else self._by_pieces(*prompt), self._by_pieces(*answer)
        if self.special.count(asked) + self.special.count(answered) != self.markers:
            raise _control_token(row)
        return self._cut(asked, answered)

    def _by_pieces(self, before: str, text: str, after: str) -> list[int]:
        """The format's own text and the data's, each by itself: only the former may hold special tokens."""
        own = self._formatted([before, after])
        plain, defused = self._ids([text, self.special.defused(text)], split_special_tokens=True)
        return [*own[0], *(defused if self.special.count(plain) else plain), *own[1]]

    def _cut(self, asked: list[int], answered: list[int]) -> EncodedRow:
        first, last = self.format.first_ids, self.format.last_ids
        ids = [*first, *asked, *answered, *last]
        # Nothing stands before the first token that it could be predicted from.
        begin = max(1, len(first) + len(asked))
        return EncodedRow(ids[: self.max_length], truncated=len(ids) > self.max_length, target_from=begin)

    def _formatted(self, texts: list[str]) -> list[list[int]]:
        return self._ids(texts, split_special_tokens=not self.format.templated)

    def _ids(self, texts: list[str], *, split_special_tokens: bool) -> list[list[int]]:
        batch = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=split_special_tokens,
            verbose=False,
        )
        return batch["input_ids"]  # type: ignore[no-any-return]


def _control_token(row: Row) -> Exception:
    return invalid_data(
        f"{row.where}: the text spells a control token of the model in a way that cannot be distinguished from the"
        " token; remove it from the text"
    )


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]
