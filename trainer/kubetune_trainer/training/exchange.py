"""What ranks tell each other; every rank takes part in each call."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

_Each = TypeVar("_Each")


def sum_over_ranks(tallies: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float64]]:
    """In one exchange. Counts are exact in a double up to 2 to the power of 53."""
    flat = torch.cat([counts.reshape(-1) for counts in tallies.values()])
    dist.all_reduce(flat)
    ends: Sequence[int] = np.cumsum([counts.numel() for counts in tallies.values()])[:-1].tolist()
    parts = np.split(flat.cpu().numpy(), ends)
    return {name: part.reshape(counts.shape) for (name, counts), part in zip(tallies.items(), parts, strict=True)}


def of_rank_0(make: Callable[[], _Each]) -> _Each:
    """What the first rank alone makes."""
    told = [make() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(told, src=0)
    return cast(_Each, told[0])


def of_all_ranks(own: Sequence[_Each]) -> list[_Each]:
    """What each rank has, the first rank's first."""
    of_each: list[Sequence[_Each]] = [() for _ in range(dist.get_world_size())]
    dist.all_gather_object(of_each, own)
    return [one for rows in of_each for one in rows]
