"""A metric of one's own over rows that several ranks have, as each of them computes it."""

from collections.abc import Callable
from functools import partial

import torch.distributed as dist

from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.training.custom import judge_custom


def shares() -> dict[str, float]:
    """Run on each rank: the metric of fifty rows, of which each has a share."""
    rank, workers = dist.get_rank(), dist.get_world_size()
    own = [(row, (row, row)) for row in range(50) if row % workers == rank]
    before = EvaluationRecord("test", 1, 1.0, {})
    metrics: dict[str, Callable[..., float]] = {"first": partial(_weighted, rank)}
    return judge_custom(before, metrics, own, {}).metrics


def _weighted(rank: int, predictions: list[int], targets: list[int]) -> float:
    """Depends on the order of the rows, and on who calls it."""
    return sum(place * row for place, row in enumerate(predictions)) + rank
