"""What targets have in common that lie row after row in one array, as the tokens of a split do."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.tasks.base import IGNORED


def marked_per_row(marks: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """[rows]: how many of each row's marks are set; row i has `marks[offsets[i]:offsets[i + 1]]`."""
    return np.diff(np.concatenate([np.zeros(1, np.int64), np.cumsum(marks, dtype=np.int64)])[offsets])


def in_lines(found: Sequence[NDArray[np.integer]], longest: int) -> NDArray[np.int64]:
    """[lines, longest]: each array from the beginning of its line, `IGNORED` behind it."""
    lines = np.full((len(found), longest), IGNORED, dtype=np.int64)
    for line, values in zip(lines, found, strict=True):
        line[: len(values)] = values
    return lines


def learned_ids(
    marks: NDArray[np.bool_], tokens: NDArray[np.int32], offsets: NDArray[np.int64], sequences: NDArray[np.int64]
) -> list[NDArray[np.int32]]:
    """Of each of these sequences, the ids of its tokens, `IGNORED` where they are not marked."""
    ends = zip(offsets[sequences], offsets[sequences + 1], strict=True)
    return [np.where(marks[start:end], tokens[start:end], IGNORED) for start, end in ends]
