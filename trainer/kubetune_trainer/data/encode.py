"""Tokenizes the texts of a split.

Texts are data: what looks like a special token in them (`[SEP]`, `<|im_end|>`) is encoded as the letters it is made of.
A row that nevertheless comes out with more special tokens than its format has is encoded again, more carefully.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.special_tokens import SpecialTokens
from kubetune_trainer.data.tokens import EncodedRow, Tokens, gathered
from kubetune_trainer.errors import invalid_data

CHUNK_ROWS = 2048
"""Rows handed to the tokenizer at a time: enough to keep its threads busy, few enough to keep its objects small."""


def encode_texts(
    rows: Sequence[Row],
    tokenizer: Any,
    max_length: int,
    *,
    field: str = "text",
    pair: str = "text_pair",
    written: bool = False,
) -> Tokens:
    """The field `field` of each row, and `pair` where they have it, cut at `max_length` tokens.

    Each with the special tokens that the model expects; those of a text that it writes may be others.
    """
    second = pair if rows and pair in rows[0].names else None
    encoder = _TextEncoder(tokenizer, max_length, field, second, written=written)
    return gathered(map(encoder.encode, chunks(rows)), typed=encoder.typed)


class _TextEncoder:
    def __init__(self, tokenizer: Any, max_length: int, field: str, pair: str | None, *, written: bool) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.field, self.pair = field, pair
        self.names = ("text_target", "text_pair_target") if written else ("text", "text_pair")
        self.typed = pair is not None and "token_type_ids" in tokenizer.model_input_names
        self.special = SpecialTokens(tokenizer)
        self.markers = self.special.count(self._batch(["a"], ["a"])[0].ids)

    def encode(self, chunk: Sequence[Row]) -> list[EncodedRow]:
        encoded = self._batch([row[self.field] for row in chunk], [self._second(row) for row in chunk])
        return [
            done if self.special.count(done.ids) == self.markers else self._defused(row)
            for row, done in zip(chunk, encoded, strict=True)
        ]

    def _defused(self, row: Row) -> EncodedRow:
        (encoded,) = self._batch([self.special.defused(row[self.field])], [self.special.defused(self._second(row))])
        if self.special.count(encoded.ids) != self.markers:
            raise control_token(row)
        return encoded

    def _second(self, row: Row) -> str:
        return "" if self.pair is None else row[self.pair]

    def _batch(self, texts: list[str], others: list[str]) -> list[EncodedRow]:
        given = (texts, others if self.pair is not None else None)
        batch = self.tokenizer(
            **dict(zip(self.names, given, strict=True)),
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


def control_token(row: Row) -> Exception:
    """The error of a row whose text spells a control token, whatever is tried."""
    return invalid_data(
        f"{row.where}: the text spells a control token of the model in a way that cannot be distinguished from the"
        " token; remove it from the text"
    )


def chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows, as many as a tokenizer is handed at a time."""
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]
