"""What the data pipeline hands to the workers.

Rows of unequal length lie one after another in a few numpy arrays: Ray's object store shares such arrays between the
processes of a node without a copy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.records import DataReport


@dataclass(frozen=True)
class EncodedSplit:
    """The token ids of one split."""

    tokens: NDArray[np.int32]
    """[tokens]: those of row i are `tokens[offsets[i]:offsets[i + 1]]`."""
    token_types: NDArray[np.uint8] | None
    """[tokens]: 0 in the first text, 1 in the second. Only for pairs, and only if the tokenizer tells them apart."""
    offsets: NDArray[np.int64]
    """[rows + 1]."""
    labels: NDArray[np.int32] | None = None
    """[rows], SequenceClassification: the index of the label."""
    target_from: NDArray[np.int32] | None = None
    """[rows], CausalLM: the index within the row of the first token that counts for the loss; at least 1."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[rows]: tokens per row."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class PreparedData:
    """A dataset, ready to train on."""

    splits: dict[str, EncodedSplit]
    """`train`, and `validation` and `test` where the job has them."""
    labels: tuple[str, ...]
    """The names of the label indices; empty for CausalLM."""
    report: DataReport
