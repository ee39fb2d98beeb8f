"""Tokenizes the rows of a split into flat arrays.

Texts are data: what looks like a special token in them (`[SEP]`, `<|im_end|>`) is encoded as the letters it is made of.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kubetune_trainer.data.conversation import Layout
from kubetune_trainer.data.rows import Row

CHUNK_ROWS = 2048
"""Rows handed to the tokenizer at a time: enough to keep its threads busy, few enough to keep its objects small."""


@dataclass(frozen=True)
class Encoded:
    """One row as the tokenizer made it, cut at the greatest length."""

    ids: Sequence[int]
    truncated: bool
    types: Sequence[int] | None = None
    target_from: int = 0

    @property
    def teaches(self) -> bool:
        """Whether any token is left to learn from."""
        return len(self.ids) > self.target_from


@dataclass(frozen=True)
class Tokens:
    """The rows that have something to teach."""

    tokens: NDArray[np.int32]
    """[tokens]"""
    token_types: NDArray[np.uint8] | None
    """[tokens]"""
    offsets: NDArray[np.int64]
    """[kept rows + 1]"""
    target_from: NDArray[np.int32]
    """[kept rows]"""
    truncated: int
    """How many of the kept rows were cut."""
    kept: NDArray[np.bool_]
    """[rows given]: which of them are here."""


def encode_texts(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Tokens:
    """Texts, or pairs of texts, each with the special tokens that the model expects, cut at `max_length` tokens."""
    paired = bool(rows) and rows[0].other is not None
    typed = paired and "token_type_ids" in tokenizer.model_input_names
    return _gathered((_texts(chunk, tokenizer, max_length, paired, typed) for chunk in _chunks(rows)), typed=typed)


def encode_completions(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Tokens:
    """Prompts with their completions, cut on the right at `max_length` tokens.

    The prompt is encoded as it is when the model is asked, so the completion begins at a token of its own.
    """
    encoder = _CompletionEncoder(tokenizer)
    return _gathered(encoder.encode(chunk, max_length) for chunk in _chunks(rows))


def _texts(chunk: Sequence[Row], tokenizer: Any, max_length: int, paired: bool, typed: bool) -> list[Encoded]:
    batch = tokenizer(
        [row.text for row in chunk],
        [row.other for row in chunk] if paired else None,
        truncation=True,
        max_length=max_length,
        return_token_type_ids=typed,
        return_attention_mask=False,
        split_special_tokens=True,
    )
    types = batch["token_type_ids"] if typed else [None] * len(chunk)
    return [
        Encoded(ids, truncated=bool(encoding.overflowing), types=row_types)
        for ids, encoding, row_types in zip(batch["input_ids"], batch.encodings, types, strict=True)
    ]


class _CompletionEncoder:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.layout = Layout.of(tokenizer)
        self.special = frozenset(tokenizer.all_special_ids) | {
            token for token, added in tokenizer.added_tokens_decoder.items() if added.special
        }
        blank = self.layout.prompt("a") + self.layout.completion("a")
        self.markers = self._count_special(self._layout_ids([blank])[0])

    def encode(self, chunk: Sequence[Row], max_length: int) -> list[Encoded]:
        pairs = [(row.text or "", row.other or "") for row in chunk]
        given = self._layout_ids([self.layout.prompt(prompt) for prompt, _ in pairs])
        whole = self._layout_ids(
            [self.layout.prompt(prompt) + self.layout.completion(answer) for prompt, answer in pairs]
        )
        return [
            self._cut(*self._parts(pair, ids, whole_ids), max_length)
            for pair, ids, whole_ids in zip(pairs, given, whole, strict=True)
        ]

    def _parts(self, pair: tuple[str, str], given: list[int], whole: list[int]) -> tuple[list[int], list[int]]:
        """The tokens of the prompt and of the completion, neither holding a special token out of the data."""
        if self._count_special(whole) == self.markers and whole[: len(given)] == given:
            return given, whole[len(given) :]
        prompt, completion = self.layout.pieces(*pair)
        return self._by_pieces(*prompt), self._by_pieces(*completion)

    def _by_pieces(self, before: str, text: str, after: str) -> list[int]:
        own, (data,) = self._layout_ids([before, after]), self._ids([text], split_special_tokens=True)
        return [*own[0], *data, *own[1]]

    def _cut(self, prompt: list[int], completion: list[int], max_length: int) -> Encoded:
        first, last = self.layout.first_ids, self.layout.last_ids
        ids = [*first, *prompt, *completion, *last]
        # Nothing stands before the first token that it could be predicted from.
        return Encoded(ids[:max_length], len(ids) > max_length, target_from=max(1, len(first) + len(prompt)))

    def _layout_ids(self, texts: list[str]) -> list[list[int]]:
        return self._ids(texts, split_special_tokens=not self.layout.templated)

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

    def _count_special(self, ids: list[int]) -> int:
        return sum(token in self.special for token in ids)


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]


def _gathered(chunks: Iterable[Sequence[Encoded]], *, typed: bool = False) -> Tokens:
    """Chunk by chunk, so that the tokens of all rows never exist as Python objects."""
    ids, types, lengths, targets, kept, truncated = [], [], [], [], [], 0
    for chunk in chunks:
        teaching = [row for row in chunk if row.teaches]
        ids.append(_flat((row.ids for row in teaching), np.int32))
        if typed:
            types.append(_flat((row.types or () for row in teaching), np.uint8))
        lengths.append(np.array([len(row.ids) for row in teaching], dtype=np.int64))
        targets.append(np.array([row.target_from for row in teaching], dtype=np.int32))
        kept.append(np.array([row.teaches for row in chunk], dtype=np.bool_))
        truncated += sum(row.truncated for row in teaching)
    return Tokens(
        tokens=_joined(ids, np.int32),
        token_types=_joined(types, np.uint8) if typed else None,
        offsets=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(_joined(lengths, np.int64))]),
        target_from=_joined(targets, np.int32),
        truncated=truncated,
        kept=_joined(kept, np.bool_),
    )


def _flat(rows: Iterable[Sequence[int]], dtype: DTypeLike) -> NDArray[Any]:
    return np.fromiter(chain.from_iterable(rows), dtype=dtype)


def _joined(parts: Sequence[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)
