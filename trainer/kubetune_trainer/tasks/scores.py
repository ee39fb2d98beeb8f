"""What follows from the probabilities that a classifier gives, and not from its answers alone: how well they rank, and
how far they can be believed.

An evaluation holds counts in bins and no row's score, so that it is a sum over batches and ranks.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.tasks.choice_losses import IGNORED

if TYPE_CHECKING:
    import torch

CALIBRATION_BINS = 15
_MOST_CELLS, _FEWEST_BINS, _MOST_BINS = 8192, 32, 2048
"""Bins of a label's scores: of all labels together as many as this, within bounds for each."""
_STRETCH = 3.0
"""Log-odds are squeezed by it before they are cut into bins: most scores of a trained model are near 0 or 1."""

Counts = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class CalibrationBin:
    """The rows whose answer got a probability of this bin."""

    confidence: float
    """The mean of those probabilities."""
    accuracy: float
    """The share of the answers that are right."""
    rows: int


@dataclass(frozen=True)
class Ranking:
    """How well scores tell the rows of a label from the others."""

    auc: float
    """The area under the ROC curve: for two labels that of the second one, for more the mean of each against the rest;
    NaN where no label has both."""
    within: float
    """How far the exact value may be from it: a half of all pairs whose scores are in one bin."""


def score_bins(labels: int) -> int:
    """How many bins the scores of each label have."""
    return max(_FEWEST_BINS, min(_MOST_BINS, _MOST_CELLS // labels))


def score_counts(logits: "torch.Tensor", targets: "torch.Tensor") -> dict[str, "torch.Tensor"]:
    """What a batch adds. `logits` [rows, labels], `targets` [rows].

    `scores` [labels, 2, bins]: the rows that have not the label and those that have it, by its score; of two labels the
    second one alone. `calibration` [3, bins]: rows, right answers and the sum of probabilities, by the answer's.
    """
    import torch

    counted = targets != IGNORED
    scores, true = logits[counted].double().log_softmax(dim=-1), targets[counted]
    size = scores.shape[1]
    confidence, answer = scores.exp().max(dim=-1)
    # A bin holds its upper end and not its lower one.
    place = (confidence * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1
    of_each = torch.stack([torch.ones_like(confidence), (answer == true).double(), confidence])
    calibration = torch.zeros(3, CALIBRATION_BINS, dtype=torch.float64, device=scores.device)
    calibration.index_add_(1, place, of_each)
    judged = torch.arange(size, device=scores.device)[1 if size == 2 else 0 :]
    of_judged = scores[:, judged]
    odds = of_judged - torch.log(-torch.expm1(of_judged.clamp(max=-1e-300)))
    bins = score_bins(size)
    places = (torch.sigmoid(odds / _STRETCH) * bins).long().clamp(0, bins - 1)
    has_it = (true[:, None] == judged).long()
    cells = (torch.arange(len(judged), device=scores.device) * 2 + has_it) * bins + places
    histogram = torch.bincount(cells.reshape(-1), minlength=len(judged) * 2 * bins)
    return {"scores": histogram.reshape(len(judged), 2, bins), "calibration": calibration}


def ranking(scores: NDArray[np.float64]) -> Ranking:
    """From the sum of all `scores`. Pairs whose scores are in one bin count as a half, as ties do."""
    others, own = scores[:, 0], scores[:, 1]
    pairs = others.sum(axis=1) * own.sum(axis=1)
    known = pairs > 0
    if not known.any():
        return Ranking(math.nan, math.nan)
    below = np.cumsum(others, axis=1) - others
    tied = (others * own).sum(axis=1)
    right = (own * below).sum(axis=1) + tied / 2
    return Ranking(float((right[known] / pairs[known]).mean()), float((tied[known] / pairs[known] / 2).mean()))


def calibration_error(calibration: NDArray[np.float64]) -> float:
    """The mean distance between the probability of an answer and the share of right answers, over the rows."""
    rows, right, confidence = calibration
    return float(np.abs(right - confidence).sum() / rows.sum())


def calibration_bins(calibration: NDArray[np.float64]) -> tuple[CalibrationBin, ...]:
    """The bins that have rows."""
    return tuple(
        CalibrationBin(confidence / rows, right / rows, int(rows))
        for rows, right, confidence in calibration.T.tolist()
        if rows
    )
