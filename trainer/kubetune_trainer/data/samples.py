"""Some rows of a split as the model sees them: the one place where a wrong format can be seen before it is learned."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api.text import ends_of
from kubetune_trainer.data.prepared import EncodedSplit, PreparedData, TargetSpace
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.shown_rows import Piece, Sample, ShownError

MOST_SAMPLES, MOST_PIECES, MOST_CHARACTERS = 3, 12, 800
"""Rows, pieces of a sequence, characters of a piece."""


def samples_of(split: EncodedSplit, space: TargetSpace, tokenizer: Any) -> tuple[Sample, ...]:
    """The first rows of the split, decoded."""
    return tuple(_sample(split, row, space, tokenizer) for row in range(min(MOST_SAMPLES, split.rows)))


def errors_of(data: PreparedData, judged: EvaluationRecord, tokenizer: Any) -> tuple[ShownError, ...]:
    """The worst rows of an evaluation, decoded."""
    split, places = data.splits[judged.split], data.places[judged.split]
    return tuple(
        ShownError(_sample(split, found.row, data.space, tokenizer), places.of(found.row), found.loss, found.answer)
        for found in judged.worst
    )


def _sample(split: EncodedSplit, row: int, space: TargetSpace, tokenizer: Any) -> Sample:
    length = int(split.lengths[row])
    learned = split.targets.learned(split, row, space.labels)
    answer, counted = None, np.zeros(length, dtype=np.bool_)
    if isinstance(learned, str):
        answer = learned
    elif learned.dtype == np.bool_:
        counted = learned.astype(np.bool_)
    else:
        answer = ends_of(_text(learned, tokenizer), MOST_CHARACTERS)
    sequences = split.sequences(np.array([row]))
    first, pieces = split.offsets[sequences[0]], []
    for part, sequence in zip(split.parts, sequences, strict=True):
        start, end = split.offsets[sequence], split.offsets[sequence + 1]
        found = _pieces(split.tokens[start:end], counted[start - first : end - first], tokenizer)
        pieces += [replace(found[0], begins=part), *found[1:]]
    return Sample(tuple(pieces), length, answer=answer)


def _text(ids: NDArray[Any], tokenizer: Any) -> str:
    text: str = tokenizer.decode(ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _pieces(ids: NDArray[np.int32], counted: NDArray[np.bool_], tokenizer: Any) -> tuple[Piece, ...]:
    """Tokens that are counted alike, together; the text of each is what it adds to the text before it."""
    borders = [0, *(np.flatnonzero(np.diff(counted)) + 1).tolist(), len(ids)]
    pieces, before = [], ""
    for begin, end in pairwise(borders[: MOST_PIECES + 1]):
        text = _text(ids[:end], tokenizer)
        pieces.append(Piece(ends_of(text.removeprefix(before), MOST_CHARACTERS), bool(counted[begin])))
        # A token may hold a part of a character, for which the next one puts the whole.
        before = text.rstrip("\ufffd")
    return tuple(pieces) if len(borders) <= MOST_PIECES + 1 else (*pieces, Piece("…", counted=False))
