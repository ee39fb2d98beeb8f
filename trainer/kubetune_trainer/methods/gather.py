"""Trained tensors, put together on the first rank."""

from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist


def gathered(named: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Copies on the CPU of rank 0, one after the other; nothing on other ranks, but all must go through it to its end.

    A tensor under several names (tied weights) is copied once.
    """
    import deepspeed

    first = dist.get_rank() == 0
    copies: dict[int, torch.Tensor] = {}
    for name, tensor in named:
        # Under ZeRO-3 each rank holds a slice; one tensor is put together at a time, so that no rank needs room for
        # the whole model on its accelerator.
        with deepspeed.zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
            if first and id(tensor) not in copies:
                copies[id(tensor)] = tensor.detach().cpu().clone()
        if first:
            yield name, copies[id(tensor)]
