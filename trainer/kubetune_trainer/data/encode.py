"""Tokenizes the rows of a split into flat arrays.

Texts are data: what looks like a special token in them (`[SEP]`, `<|im_end|>`) is encoded as the letters it is made of.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.data.rows import Row

CHUNK_ROWS = 2048
"""Rows handed to the tokenizer at a time: enough to keep its threads busy, few enough to keep its objects small."""


@dataclass(frozen=True)
class Tokens:
    """Encoded rows."""

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    token_types: NDArray[np.uint8] | None
    truncated: NDArray[np.bool_]
    """[rows]: whether the row was cut at the greatest length."""


def chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows, a chunk at a time."""
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]


def encode_texts(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Tokens:
    """Texts, or pairs of texts, each with the special tokens that the model expects, cut at `max_length` tokens."""
    paired = bool(rows) and rows[0].other is not None
    typed = paired and "token_type_ids" in tokenizer.model_input_names
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.uint8]] = []
    lengths: list[int] = []
    truncated: list[bool] = []
    for chunk in chunks(rows):
        encoded = tokenizer(
            [row.text for row in chunk],
            [row.other for row in chunk] if paired else None,
            truncation=True,
            max_length=max_length,
            return_token_type_ids=typed,
            return_attention_mask=False,
            split_special_tokens=True,
        )
        ids.append(flat(encoded["input_ids"], np.int32))
        lengths.extend(map(len, encoded["input_ids"]))
        truncated.extend(bool(encoding.overflowing) for encoding in encoded.encodings)
        if typed:
            types.append(flat(encoded["token_type_ids"], np.uint8))
    return Tokens(
        tokens=joined(ids, np.int32),
        offsets=offsets_of(lengths),
        token_types=joined(types, np.uint8) if typed else None,
        truncated=np.array(truncated, dtype=np.bool_),
    )


def flat(rows: Sequence[Sequence[int]], dtype: type[np.generic]) -> NDArray[Any]:
    """Rows of unequal length, one after another."""
    return np.fromiter(chain.from_iterable(rows), dtype=dtype)


def joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    """The parts, one after another."""
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


def offsets_of(lengths: Sequence[int]) -> NDArray[np.int64]:
    """[rows + 1]: where each row begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.asarray(lengths, dtype=np.int64))])
