"""Pairs of texts with a score: the cosine that their vectors are to have, as CosineSimilarityLoss of
sentence-transformers has it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kubetune_api.metrics import LOSS
from kubetune_trainer.data.numbers import as_numbers, numbers_of, shown
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.tasks.base import Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.number_metrics import Frame, RegressionDetails, number_metrics, ranks, sums

if TYPE_CHECKING:
    import torch

SCORE = "score"
_LEAST_SPREAD = 0.05
"""Of the cosines, as a share of that of the scores."""


@dataclass(frozen=True)
class ScoreTargets:
    """A score for each row."""

    scores: NDArray[np.float32]
    """[rows]"""
    ranks: NDArray[np.float32]
    """[rows]: the place of each in its split, for the correlation of ranks."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "ScoreTargets":
        """Those of encoded rows."""
        scores = _scores(rows)
        return cls(scores.astype(np.float32), ranks(scores[:, np.newaxis])[:, 0])

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`."""
        return np.ones(split.rows, dtype=np.int64)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.float32]:
        """[rows, 2]: each with its rank."""
        return np.stack([self.scores[rows], self.ranks[rows]], axis=-1)

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> str:
        """The score."""
        return shown([float(self.scores[row])])


def score_field(column: Column) -> Field:
    """A number."""
    return Field(SCORE, column, numbers_of)


def frame_of(sources: Mapping[str, Sequence[Row]], column: Column) -> Frame:
    """Where the scores of the training data lie; RunError where any row's is no cosine, or all are the same."""
    for rows in sources.values():
        for row in rows:
            _refuse_no_cosine(row, column)
    scores = _scores(sources["train"])
    if scores.min() == scores.max():
        raise invalid_data(
            f"{column.field}: every row has the score {scores[0]:g}; pairs that are more and less alike are needed to"
            " learn from"
        )
    return Frame.of(scores)


def _refuse_no_cosine(row: Row, column: Column) -> None:
    found = as_numbers(row[SCORE])
    if len(found) != 1 or not -1 <= found[0] <= 1:
        raise invalid_data(
            f"{row.where}: the column {column.name!r} ({column.field}) holds {shown(found[:3])}; a score is the cosine"
            " of two vectors, one number from -1 to 1: divide scores of 0 to 5 by 5 in the data, and those of 0 to 100"
            " by 100"
        )


def cosine_losses(vectors: "torch.Tensor", targets: "torch.Tensor") -> Losses:
    """The squared difference of each row's cosine and score; also tells the cosines.

    `vectors` [rows, 2, hidden] of length 1; `targets` [rows, 2], NaN where nothing is learned.
    """
    cosines, scores = (vectors[:, 0] * vectors[:, 1]).sum(dim=-1), targets[:, 0]
    known = ~scores.isnan()
    return Losses((cosines - scores.nan_to_num()).square() * known, cosines[:, None])


def tally_of(losses: Losses, batch: MicroBatch, frame: Frame) -> Tally:
    """The loss, and what the correlations are sums of."""
    known = ~batch.targets[:, 0].isnan()
    score, rank = batch.targets[known].double().unbind(dim=-1)
    cosines = losses.outputs[known].double()
    return {"loss": losses.judged.double().sum(), **sums(score[:, None], cosines, rank[:, None], (frame,))}


def measured(tally: dict[str, NDArray[np.float64]], frame: Frame) -> Measured:
    """The mean loss, and how well the cosines follow the scores."""
    metrics, details = number_metrics(tally, (frame,))
    correlations = {name: metrics[name] for name in ("pearson", "spearman")}
    return Measured({LOSS: float(tally["loss"] / details.rows), **correlations}, details)


def findings(split: str, details: RegressionDetails) -> Iterator[str]:
    """Cosines that are all the same to a reader."""
    if all(one.spread < _LEAST_SPREAD for one in details.per_value):
        yield (
            f"The cosines of the {split} split are nearly all the same: they vary less than a twentieth as much as the"
            " scores. A higher training.learningRate or more epochs are the usual remedy."
        )


def _scores(rows: Sequence[Row]) -> NDArray[np.float64]:
    return np.array([as_numbers(row[SCORE])[0] for row in rows], dtype=np.float64)
