"""How near predicted numbers are to true ones: from sums of a fixed size, however many rows there are.

R² and Pearson's correlation are sums of products. Spearman's is that of ranks: those of the true values are known
before an evaluation, and those of the predictions follow from a histogram, fine enough that its ties do not count.
"""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

BINS = 8192
"""Of the histogram of predictions, those of all outputs together: no more than the intervals have room for."""
FEWEST_BINS = 256
CELLS = 40
"""Of the plot, each way."""
MOST_PLOTS = 4
"""Of a row's numbers, the first ones are drawn."""
_MOMENTS = ("rows", "true", "predicted", "true_2", "predicted_2", "product", "rank_2", "absolute", "squared")


@dataclass(frozen=True)
class Frame:
    """What is known of an output's values before the training: sums are taken around them."""

    mean: float
    spread: float
    """The standard deviation, above 0."""
    low: float
    high: float
    """The lowest and the highest value."""

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Frame":
        """Of values of which two differ."""
        return cls(float(values.mean()), float(values.std()), float(values.min()), float(values.max()))

    @property
    def edges(self) -> tuple[float, float]:
        """What the plot shows; what lies beyond is in its outermost cells."""
        border = (self.high - self.low) / 20
        low, high = max(self.low, self.mean - 5 * self.spread), min(self.high, self.mean + 5 * self.spread)
        return low - border, high + border


@dataclass(frozen=True)
class NumberMetrics:
    """How one of a row's numbers fared."""

    rmse: float
    mae: float
    r2: float
    pearson: float
    spearman: float
    baseline_rmse: float
    """Of always predicting the mean of the training data."""
    spread: float
    """The standard deviation of the predictions, as a share of that of the true values."""


@dataclass(frozen=True)
class Scatter:
    """Where predicted values lie against true ones, cell by cell."""

    low: float
    high: float
    """The edges of the plot, each way."""
    cells: tuple[tuple[int, int, int], ...]
    """(true, predicted, rows) of each that is not empty, both counted from `low`."""


@dataclass(frozen=True)
class RegressionDetails:
    """How each of a row's numbers fared."""

    per_value: tuple[NumberMetrics, ...]
    scatter: tuple[Scatter, ...]
    """Of the first numbers."""
    means: tuple[float, ...]
    """Of the training data."""
    rows: int

    @property
    def baseline_rmse(self) -> float:
        """Of always predicting the mean of the training data."""
        return math.sqrt(float(np.mean([one.baseline_rmse**2 for one in self.per_value])))

    def to_dict(self) -> dict[str, Any]:
        """See `Details`."""
        scatter = [
            {
                "low": one.low,
                "high": one.high,
                "cells": [{"true": true, "predicted": said, "rows": rows} for true, said, rows in one.cells],
            }
            for one in self.scatter
        ]
        per_value = [
            {
                **{name: value for name, value in asdict(one).items() if name not in ("baseline_rmse", "spread")},
                "baselineRmse": one.baseline_rmse,
                "trainingMean": mean,
            }
            for one, mean in zip(self.per_value, self.means, strict=True)
        ]
        return {"perValue": per_value, "scatter": scatter}


def ranks(values: NDArray[Any]) -> NDArray[np.float32]:
    """[rows, outputs]: the place of each value in its column, -0.5 to 0.5; equal values share the middle of theirs."""
    places = np.empty(values.shape, dtype=np.float32)
    for output, column in enumerate(values.T):
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        middles = np.cumsum(counts) - (counts + 1) / 2
        places[:, output] = (middles[inverse] - (len(column) - 1) / 2) / max(1, len(column))
    return places


def sums(
    true: "torch.Tensor", predicted: "torch.Tensor", rank: "torch.Tensor", frames: tuple[Frame, ...]
) -> dict[str, "torch.Tensor"]:
    """What some rows add, each [rows, outputs] in 64-bit numbers; `rank` is the place of the true value."""
    import torch

    mean, spread = (
        torch.tensor([getattr(frame, name) for frame in frames], dtype=torch.float64, device=true.device)
        for name in ("mean", "spread")
    )
    z_true, z_said, error = (true - mean) / spread, (predicted - mean) / spread, predicted - true
    moments = (
        torch.ones_like(true), z_true, z_said, z_true**2, z_said**2, z_true * z_said, rank**2, error.abs(), error**2,
    )  # fmt: skip
    return {
        "moments": torch.stack([moment.sum(dim=0) for moment in moments]),
        "placed": _placed(z_said, rank),
        "cells": _cells(true[:, :MOST_PLOTS], predicted[:, :MOST_PLOTS], frames),
    }


def _placed(z_said: "torch.Tensor", rank: "torch.Tensor") -> "torch.Tensor":
    """[2, outputs, bins]: in each bin of predictions the rows, and the sum of their true values' ranks."""
    import torch

    outputs = z_said.shape[1]
    bins = max(FEWEST_BINS, BINS // outputs)
    # Finest around the mean, and for numbers of any size: z / (1 + |z|) lies between -1 and 1.
    known = z_said.nan_to_num()
    found = ((0.5 + 0.5 * known / (1 + known.abs())) * bins).long().clamp(0, bins - 1)
    found = (found + bins * torch.arange(outputs, device=found.device)).flatten()
    counts = torch.bincount(found, minlength=outputs * bins).double()
    sums_of_ranks = torch.bincount(found, weights=rank.flatten(), minlength=outputs * bins)
    return torch.stack([counts, sums_of_ranks]).reshape(2, outputs, bins)


def _cells(true: "torch.Tensor", said: "torch.Tensor", frames: tuple[Frame, ...]) -> "torch.Tensor":
    """[outputs, cells, cells]: the rows by true and predicted value."""
    import torch

    plots = true.shape[1]
    low, high = (
        torch.tensor([frame.edges[end] for frame in frames[:plots]], dtype=torch.float64, device=true.device)
        for end in (0, 1)
    )
    across, up = (
        ((values.nan_to_num() - low) / (high - low) * CELLS).floor().clamp(0, CELLS - 1).long()
        for values in (true, said)
    )
    place = (torch.arange(plots, device=true.device) * CELLS + across) * CELLS + up
    return torch.bincount(place.flatten(), minlength=plots * CELLS**2).reshape(plots, CELLS, CELLS)


def number_metrics(
    tally: dict[str, NDArray[np.float64]], frames: tuple[Frame, ...]
) -> tuple[dict[str, float], RegressionDetails]:
    """The metrics, each the mean over a row's numbers, and how each of the numbers fared."""
    by_output = [dict(zip(_MOMENTS, column, strict=True)) for column in tally["moments"].T]
    squared = [one["squared"] / one["rows"] for one in by_output]
    per_value = tuple(
        _of_one(one, frame, counts, sums_of_ranks)
        for one, frame, counts, sums_of_ranks in zip(by_output, frames, *tally["placed"], strict=True)
    )
    mse = float(np.mean(squared))
    metrics = {
        "mse": mse,
        "rmse": math.sqrt(mse),
        **{
            name: float(np.mean([getattr(one, name) for one in per_value]))
            for name in ("mae", "r2", "pearson", "spearman")
        },
    }
    scatter = tuple(_scatter(cells, frame) for cells, frame in zip(tally["cells"], frames, strict=False))
    means = tuple(frame.mean for frame in frames)
    return metrics, RegressionDetails(per_value, scatter, means, int(by_output[0]["rows"]))


def _of_one(
    one: dict[str, float], frame: Frame, counts: NDArray[np.float64], sums_of_ranks: NDArray[np.float64]
) -> NumberMetrics:
    rows = one["rows"]
    about_true = one["true_2"] - one["true"] ** 2 / rows
    about_said = one["predicted_2"] - one["predicted"] ** 2 / rows
    together = one["product"] - one["true"] * one["predicted"] / rows
    return NumberMetrics(
        rmse=math.sqrt(one["squared"] / rows),
        mae=float(one["absolute"] / rows),
        r2=1 - _quotient(one["squared"] / frame.spread**2, about_true),
        pearson=_correlation(together, about_true, about_said),
        spearman=_spearman(counts, sums_of_ranks, one["rank_2"]),
        baseline_rmse=frame.spread * math.sqrt(one["true_2"] / rows),
        spread=math.sqrt(max(0.0, _quotient(about_said, about_true))),
    )


def _spearman(counts: NDArray[np.float64], sums_of_ranks: NDArray[np.float64], rank_2: float) -> float:
    """Pearson's correlation of ranks; predictions of one bin share the middle of theirs."""
    rows = counts.sum()
    middles = (np.cumsum(counts) - (counts + 1) / 2 - (rows - 1) / 2) / rows
    about_true = rank_2 - sums_of_ranks.sum() ** 2 / rows
    return _correlation(float(sums_of_ranks @ middles), about_true, float(counts @ middles**2))


def _correlation(together: float, about_one: float, about_other: float) -> float:
    """NaN where one of the two does not vary."""
    found = _quotient(together, math.sqrt(max(0.0, about_one)) * math.sqrt(max(0.0, about_other)))
    return max(-1.0, min(1.0, found)) if math.isfinite(found) else found


def _quotient(part: float, whole: float) -> float:
    # What rounding leaves of a difference of equal sums is no variation.
    return float(part / whole) if whole > 1e-12 else math.nan


def _scatter(cells: NDArray[np.float64], frame: Frame) -> Scatter:
    found = tuple((int(true), int(said), int(cells[true, said])) for true, said in zip(*np.nonzero(cells), strict=True))
    return Scatter(*frame.edges, found)
