"""Encoded rows: first as the tokenizer makes them, then flat."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    learned: Sequence[tuple[int, int]] | None = None
    """From which token to which the model learns to write; None: the answer is none of its tokens."""
    answers: int = 0
    """How many answers the row has."""
    only_read: int = 0
    """How many of them are not learned."""
    begins: Sequence[int] | None = None
    """For each token, the number of the word that it begins, or -1; None: the words do not matter."""

    @property
    def teaches(self) -> bool:
        """Whether any token is left to learn from."""
        if self.begins is not None:
            return any(word >= 0 for word in self.begins)
        return bool(self.ids) if self.learned is None else any(start < len(self.ids) for start, _ in self.learned)

    @property
    def marks(self) -> NDArray[np.bool_]:
        """[tokens]: which of them are learned."""
        marks = np.zeros(len(self.ids), dtype=np.bool_)
        for start, end in self.learned or ():
            marks[start:end] = True
        return marks


@dataclass(frozen=True)
class Tokens:
    """The rows of a split that have something to teach."""

    tokens: NDArray[np.int32]
    """[tokens]"""
    token_types: NDArray[np.uint8] | None
    """[tokens]"""
    offsets: NDArray[np.int64]
    """[kept rows + 1]"""
    learned: NDArray[np.bool_]
    """[tokens]: which of them the model learns to write."""
    cut: NDArray[np.bool_]
    """[kept rows]: which of them were cut."""
    kept: NDArray[np.bool_]
    """[rows given]: which of them are here."""
    answers: int
    """How many answers the kept rows have."""
    only_read: int
    """How many of them are not learned."""
    begins: NDArray[np.int32]
    """[tokens]: the number of the word, in its row, that a token begins, or -1; empty where words do not matter."""
    parts: tuple[str, ...] = ("",)
    """As `EncodedSplit` has them; `offsets` are those of the sequences."""

    @property
    def truncated(self) -> int:
        """How many of the kept rows were cut."""
        return int(self.cut.sum())

    def ended(self, end: int) -> "Tokens":
        """The same with the token behind each sequence; what was said of the old tokens one by one is lost."""
        tokens = np.insert(self.tokens, self.offsets[1:], end)
        return replace(
            self,
            tokens=tokens,
            token_types=None,
            offsets=self.offsets + np.arange(len(self.offsets)),
            learned=np.zeros(len(tokens), dtype=np.bool_),
        )

    def with_targets(
        self,
        targets: Targets,
        label_rows: tuple[tuple[str, int], ...] = (),
        notes: tuple[str, ...] = (),
        *,
        compares_rows: bool = False,
        sources: NDArray[np.int64] | None = None,
    ) -> "Encoded":
        """The same as a split; `targets` and `label_rows` are those of the kept rows, `sources` where one given row is
        several of them."""
        split = EncodedSplit(
            self.tokens, self.token_types, self.offsets, targets, self.parts, compares_rows=compares_rows
        )
        sources = np.flatnonzero(self.kept) if sources is None else sources
        return Encoded(split, sources, self.truncated, label_rows, notes)


@dataclass(frozen=True)
class Encoded:
    """A split, and what became of the rows that were given."""

    split: EncodedSplit
    sources: NDArray[np.int64]
    """[rows]: the number of the given row that each row of the split is of; a given row may be several, or none."""
    truncated: int
    """How many rows were cut."""
    label_rows: tuple[tuple[str, int], ...] = ()
    """Kept rows of each label, in the order of the labels; nothing where targets have no names."""
    notes: tuple[str, ...] = ()
    """What the author of the job should know of how these rows became tokens, in sentences."""


def gathered(chunks: Iterable[Sequence[EncodedRow]], *, typed: bool = False) -> Tokens:
    """Chunk by chunk, so that the tokens of all rows never exist as Python objects."""
    ids, types, lengths, learned, cut, kept, begins = [], [], [], [], [], [], []
    counts = Counter[str]()
    for chunk in chunks:
        teaching = [row for row in chunk if row.teaches]
        ids.append(_flat((row.ids for row in teaching), np.int32))
        if typed:
            types.append(_flat((row.types or () for row in teaching), np.uint8))
        lengths.append(np.array([len(row.ids) for row in teaching], dtype=np.int64))
        begins.append(_flat((row.begins or () for row in teaching), np.int32))
        learned.append(_joined([row.marks for row in teaching], np.bool_))
        cut.append(np.array([row.truncated for row in teaching], dtype=np.bool_))
        kept.append(np.array([row.teaches for row in chunk], dtype=np.bool_))
        for row in teaching:
            counts.update(answers=row.answers, only_read=row.only_read)
    return Tokens(
        tokens=_joined(ids, np.int32),
        token_types=_joined(types, np.uint8) if typed else None,
        offsets=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(_joined(lengths, np.int64))]),
        learned=_joined(learned, np.bool_),
        cut=_joined(cut, np.bool_),
        kept=_joined(kept, np.bool_),
        answers=counts["answers"],
        only_read=counts["only_read"],
        begins=_joined(begins, np.int32),
    )


def side_by_side(parts: Mapping[str, Tokens]) -> Tokens:
    """Rows of several sequences: `parts` holds those of the same rows, in their order, by the name of the part. A row
    of which any part has nothing to teach is left out."""
    every = list(parts.values())
    kept = np.logical_and.reduce([part.kept for part in every])
    # For each part, the numbers that the rows of all parts have in it.
    places = [np.flatnonzero(kept[part.kept]) for part in every]
    spans = [
        (part, slice(part.offsets[place], part.offsets[place + 1]))
        for row in zip(*places, strict=True)
        for part, place in zip(every, row, strict=True)
    ]
    lengths = np.array([span.stop - span.start for _, span in spans], dtype=np.int64)
    return Tokens(
        tokens=_joined([part.tokens[span] for part, span in spans], np.int32),
        token_types=None,
        offsets=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]),
        learned=_joined([part.learned[span] for part, span in spans], np.bool_),
        cut=np.logical_or.reduce([part.cut[place] for part, place in zip(every, places, strict=True)]),
        kept=kept,
        answers=sum(part.answers for part in every),
        only_read=sum(part.only_read for part in every),
        begins=np.empty(0, dtype=np.int32),
        parts=tuple(parts),
    )


def _flat(rows: Iterable[Sequence[int]], dtype: DTypeLike) -> NDArray[Any]:
    return np.fromiter(chain.from_iterable(rows), dtype=dtype)


def _joined(parts: Sequence[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)
