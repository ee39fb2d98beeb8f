"""From which score on a label is given: judged at every threshold at once, from histograms of the scores.

The scores of each label are counted in the bins that the thresholds make, so that what is right and wrong at each of
them follows exactly. A whole row is right at the thresholds between the highest score of a label that it has not and
the lowest of one that it has: counted where that begins and where it ends.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.tasks.class_metrics import shares

if TYPE_CHECKING:
    import torch

GRID = tuple(number / 100 for number in range(1, 100))
"""The thresholds that are tried."""
MIDDLE = 0.5


@dataclass(frozen=True)
class AtThresholds:
    """How a split is judged, for each threshold."""

    right: NDArray[np.float64]
    """[thresholds, labels]: the rows that have the label and are given it."""
    given: NDArray[np.float64]
    """[thresholds, labels]: the rows that are given it."""
    true: NDArray[np.float64]
    """[labels]: the rows that have it."""
    whole: NDArray[np.float64]
    """[thresholds]: the share of the rows of which every label is right."""
    rows: float

    @property
    def f1_micro(self) -> NDArray[np.float64]:
        """[thresholds]: F1 over all labels of all rows together."""
        return shares(2 * self.right.sum(axis=1), self.given.sum(axis=1) + self.true.sum())

    @property
    def precision_micro(self) -> NDArray[np.float64]:
        """[thresholds]: of the labels that are given, the share that is right."""
        return shares(self.right.sum(axis=1), self.given.sum(axis=1))

    @property
    def recall_micro(self) -> NDArray[np.float64]:
        """[thresholds]: of the labels that rows have, the share that is given."""
        return shares(self.right.sum(axis=1), np.full(len(self.right), self.true.sum()))

    def best(self, thresholds: tuple[float, ...]) -> int:
        """The place of the threshold with the highest F1 over all labels; of equal ones the one nearest to a half."""
        f1 = self.f1_micro
        return min(range(len(thresholds)), key=lambda place: (-f1[place], abs(thresholds[place] - MIDDLE)))


def counts(scores: "torch.Tensor", true: "torch.Tensor", thresholds: tuple[float, ...]) -> dict[str, "torch.Tensor"]:
    """What some rows add: `scores` between 0 and 1, and `true` 1 where the row has the label; both [rows, labels]."""
    import torch

    edges = torch.tensor(thresholds, dtype=scores.dtype, device=scores.device)
    labels, bins = scores.shape[1], len(thresholds) + 1
    # A score in bin n reaches the first n thresholds.
    found = torch.bucketize(scores, edges, right=True)
    has = true > 0
    places = (has.long() * labels + torch.arange(labels, device=scores.device)) * bins + found
    begins = found.masked_fill(has, 0).amax(dim=1) if len(found) else found.new_zeros(0)
    ends = found.masked_fill(~has, bins - 1).amin(dim=1) if len(found) else found.new_zeros(0)
    fits = begins < ends
    return {
        "scores": torch.bincount(places.flatten(), minlength=2 * labels * bins).reshape(2, labels, bins),
        "whole": torch.bincount(begins[fits], minlength=bins) - torch.bincount(ends[fits], minlength=bins),
    }


def at_thresholds(tally: dict[str, NDArray[np.float64]]) -> AtThresholds:
    """The sum of all counts, judged."""
    scores = tally["scores"]
    # [2, thresholds, labels]: the rows whose score reaches the threshold, without and with the label.
    reaching = np.flip(np.cumsum(np.flip(scores, axis=2), axis=2), axis=2)[:, :, 1:].transpose(0, 2, 1)
    rows = float(scores.sum() / scores.shape[1])
    return AtThresholds(
        right=reaching[1],
        given=reaching.sum(axis=0),
        true=scores[1].sum(axis=1),
        whole=np.cumsum(tally["whole"])[:-1] / max(1.0, rows),
        rows=rows,
    )
