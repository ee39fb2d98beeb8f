"""Tokenizes texts that a model learns to go on with: each token behind another is learned once, and the one that ends
them.

A text that is too long becomes several sequences. Each but the first begins with the last token of the one before,
which is read only, so that no token is learned without what stands before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.data.encode import encode_texts
from kubetune_trainer.data.endings import own_ending
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.tokens import Tokens

FIELD = "text"
"""The field of a row."""
_WHOLE = 2**31 - 1
"""Tokens; no text is as long."""


@dataclass(frozen=True)
class Documents:
    """Texts as sequences."""

    tokens: Tokens
    """Those of the sequences; none of them was cut."""
    sources: NDArray[np.int64]
    """[sequences]: the number of the row that each is of."""

    @property
    def divided(self) -> int:
        """How many texts are several sequences."""
        return int((np.unique(self.sources, return_counts=True)[1] > 1).sum())


def encode_documents(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Documents:
    """The text of each row, with the special tokens that the model expects and the one that ends it, in sequences of
    `max_length` tokens at most."""
    whole = encode_texts(rows, tokenizer, _WHOLE, field=FIELD)
    end = own_ending(tokenizer)
    if tokenizer("a")["input_ids"][-1:] != [end]:
        whole = whole.ended(end)
    opening = tuple(whole.tokens[:1]) == (tokenizer.bos_token_id,)
    pieces: list[NDArray[np.int32]] = []
    marks: list[NDArray[np.bool_]] = []
    sources: list[int] = []
    for source, start, end in zip(np.flatnonzero(whole.kept), whole.offsets, whole.offsets[1:], strict=False):
        for piece, read_only in _pieces(whole.tokens[start:end], int(opening), max_length):
            pieces.append(piece)
            marks.append(np.arange(len(piece)) >= read_only)
            sources.append(int(source))
    tokens = replace(
        whole,
        tokens=np.concatenate([np.empty(0, dtype=np.int32), *pieces]),
        offsets=np.cumsum([0, *map(len, pieces)], dtype=np.int64),
        learned=np.concatenate([np.empty(0, dtype=np.bool_), *marks]),
        cut=np.zeros(len(pieces), dtype=np.bool_),
    )
    return Documents(tokens, np.array(sources, dtype=np.int64))


def _pieces(text: NDArray[np.int32], opening: int, longest: int) -> Iterator[tuple[NDArray[np.int32], int]]:
    """The sequences of a text, and how many tokens of each are only read; `opening` tokens begin each of them."""
    if len(text) > 1:
        yield text[:longest], 1
    step = longest - opening - 1
    for begin in range(longest, len(text), step):
        yield np.concatenate([text[:opening], text[begin - 1 : begin + step]]), opening + 1
