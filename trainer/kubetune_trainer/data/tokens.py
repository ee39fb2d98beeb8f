"""Encoded rows: first as the tokenizer makes them, then flat."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kubetune_trainer.data.prepared import EncodedSplit, Targets


@dataclass(frozen=True)
class EncodedRow:
    """One row, cut at the greatest length."""

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
    """The rows of a split that have something to teach."""

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

    def with_targets(self, targets: Targets, label_rows: tuple[tuple[str, int], ...] = ()) -> "Encoded":
        """The same as a split; `targets` and `label_rows` are those of the kept rows."""
        split = EncodedSplit(self.tokens, self.token_types, self.offsets, targets)
        return Encoded(split, self.kept, self.truncated, label_rows)


@dataclass(frozen=True)
class Encoded:
    """A split, and what became of the rows that were given."""

    split: EncodedSplit
    kept: NDArray[np.bool_]
    """[rows given]: which of them are in the split."""
    truncated: int
    """How many of the kept rows were cut."""
    label_rows: tuple[tuple[str, int], ...] = ()
    """Kept rows of each label, in the order of the labels; nothing where targets have no names."""


def gathered(chunks: Iterable[Sequence[EncodedRow]], *, typed: bool = False) -> Tokens:
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
