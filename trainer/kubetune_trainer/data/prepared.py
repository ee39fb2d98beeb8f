"""What the data pipeline hands to the workers.

A row is one sequence of tokens, or a few that belong together (a question and its answer). Sequences of unequal length
lie one after another in a few numpy arrays: Ray's object store shares such arrays between the processes of a node
without a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.data.rows import Row, place
from kubetune_trainer.records import DataReport


class TargetSpace(Protocol):
    """What a model may answer: the labels of a classification, the scale of a regression. Each task has its own."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the head's outputs, in their order; empty where they have none."""


class Targets(Protocol):
    """What the model is to answer to each row of a split. Each task has its own."""

    def per_row(self, split: "EncodedSplit") -> NDArray[np.int64]:
        """[rows]: how many targets each has; the loss of a step is the mean over those of its rows."""

    def padded(self, split: "EncodedSplit", rows: NDArray[np.int64], longest: int) -> NDArray[Any]:
        """[rows taken, …]: the targets of a batch whose longest row has `longest` tokens.

        `IGNORED` (of fractions: NaN) stands where nothing is to be learned.
        """

    def learned(self, split: "EncodedSplit", row: int, labels: Sequence[str]) -> str | NDArray[np.bool_ | np.int32]:
        """What the loss counts of a row: the answer in words, which of its tokens ([tokens]), or tokens of its own."""


@dataclass(frozen=True)
class EncodedSplit:
    """The token ids of one split, and what is to be answered to them."""

    tokens: NDArray[np.int32]
    """[tokens]: those of sequence i are `tokens[offsets[i]:offsets[i + 1]]`."""
    token_types: NDArray[np.uint8] | None
    """[tokens]: 0 in the first text, 1 in the second. Only for pairs, and only if the tokenizer tells them apart."""
    offsets: NDArray[np.int64]
    """[rows x parts + 1]: the sequences of a row stand together, in the order of `parts`."""
    targets: Targets
    parts: tuple[str, ...] = ("",)
    """What each sequence of a row is: "anchor", "positive". Where a row is one sequence, it needs no name."""
    reference: NDArray[np.float32] | None = None
    """[rows, parts]: what the model said of each sequence before it was trained, for a task that asks for it."""
    compares_rows: bool = False
    """Whether the loss compares the rows of a micro-batch with each other, which must then be as many as they may."""
    slices: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By name: which rows are judged by themselves as well."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return (len(self.offsets) - 1) // len(self.parts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[rows]: tokens per row, of all its sequences."""
        return np.diff(self.offsets[:: len(self.parts)])

    @property
    def longest(self) -> NDArray[np.int64]:
        """[rows]: tokens of the longest sequence of each row, to which its others are padded."""
        found: NDArray[np.int64] = np.diff(self.offsets).reshape(-1, len(self.parts)).max(axis=1)
        return found

    def sequences(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[rows taken x parts]: the numbers of their sequences."""
        return (rows[:, np.newaxis] * len(self.parts) + np.arange(len(self.parts))).reshape(-1)


@dataclass(frozen=True)
class Places:
    """Where the rows of a split came from."""

    files: tuple[str, ...]
    """The URIs."""
    file: NDArray[np.int32]
    """[rows]: which of them."""
    line: NDArray[np.int64]
    """[rows]: see `Row.line`."""

    @classmethod
    def of_rows(cls, rows: Sequence[Row]) -> "Places":
        """Of the rows of a split, in their order."""
        numbers: dict[str, int] = {}
        file = np.array([numbers.setdefault(row.file, len(numbers)) for row in rows], dtype=np.int32)
        return cls(tuple(numbers), file, np.array([row.line for row in rows], dtype=np.int64))

    def of(self, row: int) -> str:
        """The place of a row, for people."""
        return place(self.files[self.file[row]], int(self.line[row]))


@dataclass(frozen=True)
class PreparedData:
    """A dataset, ready to train on."""

    splits: dict[str, EncodedSplit]
    """`train`, and `validation` and `test` where the job has them."""
    space: TargetSpace
    report: DataReport
    places: dict[str, Places] = field(default_factory=dict)
    """Of the rows of the held-out splits."""
