"""Gradients are averaged over the workers where they are."""

import torch
import torch.distributed as dist

from kubetune_trainer.training.reduction import average
from support.ranks import run_ranks

SHAPES = ((300, 300), (7,), (70_000,), (3, 5), ())


def gradients(rank: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(rank)
    return [*(torch.randn(shape, generator=random) for shape in SHAPES), torch.randn(300, 300, generator=random).t()]


def averaged() -> list[bool]:
    """Of each tensor, whether it is the mean of what both ranks had, in the memory that it had."""
    of_ranks = [gradients(rank) for rank in (0, 1)]
    mine, expected = of_ranks[dist.get_rank()], [(a + b) / 2 for a, b in zip(*of_ranks, strict=True)]
    places = [one.data_ptr() for one in mine]
    average(mine, dist.group.WORLD, numel_per_bucket=1, dp_world_size=2.0)
    return [
        bool((found == wanted).all()) and found.data_ptr() == place
        for found, wanted, place in zip(mine, expected, places, strict=True)
    ]


def test_large_small_and_transposed_gradients_become_the_mean_of_all_workers() -> None:
    assert run_ranks(averaged, 2) == [[True] * 6] * 2
