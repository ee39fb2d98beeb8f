"""How gradients are summed over the workers where DeepSpeed would copy all of them into a bucket, and back."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from kubetune_trainer.training.device import Device

_SMALL = 1 << 16
"""Below so many numbers it takes longer to ask the other workers than to copy."""


def reduce_without_copies(engine: Any, workers: int, device: Device) -> None:
    """Makes an engine leave gradients where they are: those of one worker, which nobody else has a part in, and on CPUs
    those of stage 0. NCCL sums one large bucket faster than many tensors."""
    if workers == 1:
        engine.enable_backward_allreduce = _spreads(engine)
    elif device.kind == "cpu" and not engine.zero_optimization():
        engine.allreduce_no_retain = average


def _spreads(engine: Any) -> bool:
    """Whether its optimizer takes the gradients from the reduction, and not from the parameters."""
    from deepspeed.runtime.base_optimizer import ZeROOptimizer
    from deepspeed.runtime.bf16_optimizer import BF16_Optimizer

    return isinstance(engine.optimizer, ZeROOptimizer) and not isinstance(engine.optimizer, BF16_Optimizer)


def average(gradients: Sequence[torch.Tensor], dp_group: Any = None, **_: Any) -> None:
    """Makes each of them the mean over the workers, which give theirs in the same order."""
    large = [one for one in gradients if one.numel() >= _SMALL and one.is_contiguous()]
    small = [one for one in gradients if one.numel() < _SMALL or not one.is_contiguous()]
    sums = [dist.all_reduce(one, group=dp_group, async_op=True) for one in large]
    if small:
        bucket = torch.cat([one.reshape(-1) for one in small])
        dist.all_reduce(bucket, group=dp_group)
        for one, summed in zip(small, torch.split(bucket, [one.numel() for one in small]), strict=True):
            one.copy_(summed.view(one.shape))
    for each in sums:
        each.wait()
    torch._foreach_mul_(list(gradients), 1 / dist.get_world_size(dp_group))
