"""Trained tensors, put together on one rank."""

from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist


def gathered(named: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Copies on the CPU of rank 0, one after the other; nothing on other ranks, but all must go through it to its end.

    A tensor under several names (tied weights) is copied once.
    """
    copies: dict[int, torch.Tensor | None] = {}
    for name, tensor in named:
        if id(tensor) not in copies:
            copies[id(tensor)] = on_rank(0, tensor)
        copy = copies[id(tensor)]
        if copy is not None:
            yield name, copy


def on_rank(rank: int, tensor: torch.Tensor) -> torch.Tensor | None:
    """A copy of the whole tensor on the CPU of one rank; None on the others, all of which must call it.

    Under ZeRO-3 each rank holds a slice. One tensor is put together at a time, so that no rank needs room for the whole
    model on its accelerator.
    """
    import deepspeed

    with deepspeed.zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
        return tensor.detach().cpu().clone() if dist.get_rank() == rank else None
