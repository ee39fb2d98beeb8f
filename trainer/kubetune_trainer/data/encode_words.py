"""Tokenizes texts whose words matter: which token is the first of which word.

The text is encoded as it will be when the model is asked, not word by word: tokenizers that know spaces (GPT-2's,
Llama's) make other tokens of a word that stands alone. Words follow from the places of the tokens in the text.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from kubetune_trainer.data.encode import chunks, control_token
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.special_tokens import SpecialTokens
from kubetune_trainer.data.tagged import TaggedText, joined_words, tagged
from kubetune_trainer.data.tokens import EncodedRow, Tokens, gathered
from kubetune_trainer.errors import invalid_model


def encode_words(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Tokens:
    """The texts of the rows with the words that their tokens begin, cut at `max_length` tokens."""
    if not tokenizer.is_fast:
        raise invalid_model(
            "spec.model.uri: the tokenizer does not say which characters a token is of, so words cannot be tagged with"
            " it; choose a model with a tokenizer.json"
        )
    encoder = _WordEncoder(tokenizer, max_length)
    return gathered(map(encoder.encode, chunks(rows)))


class _WordEncoder:
    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.special = SpecialTokens(tokenizer)
        self.markers = self.special.count(self._batch([TaggedText("a", ((0, 1),), ("",))])[0].ids)

    def encode(self, chunk: Sequence[Row]) -> list[EncodedRow]:
        encoded = self._batch([tagged(row) for row in chunk])
        return [
            done if self.special.count(done.ids) == self.markers else self._defused(row)
            for row, done in zip(chunk, encoded, strict=True)
        ]

    def _defused(self, row: Row) -> EncodedRow:
        found = tagged(row)
        (encoded,) = self._batch([joined_words(list(map(self.special.defused, found.spaced)), found.tags)])
        if self.special.count(encoded.ids) != self.markers:
            raise control_token(row)
        return encoded

    def _batch(self, texts: Sequence[TaggedText]) -> list[EncodedRow]:
        batch = self.tokenizer(
            [one.text for one in texts],
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=False,
            return_offsets_mapping=True,
            split_special_tokens=True,
        )
        return [
            EncodedRow(ids, truncated=bool(encoding.overflowing), begins=_begins(one, encoding.offsets))
            for one, ids, encoding in zip(texts, batch["input_ids"], batch.encodings, strict=True)
        ]


def _begins(tagged_text: TaggedText, offsets: Sequence[tuple[int, int]]) -> list[int]:
    text, words = tagged_text.text, tagged_text.words
    starts = [start for start, _ in words]
    begins, before = [], -1
    for start, end in offsets:
        # Some tokenizers count the space before a word as its token's.
        while start < end and text[start].isspace():
            start += 1
        word = bisect_right(starts, start) - 1
        within = start < end and word >= 0 and start < words[word][1]
        begins.append(word if within and word > before else -1)
        before = max(before, word) if within else before
    return begins
