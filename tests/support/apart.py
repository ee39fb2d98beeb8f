"""Ranks of a group without patience, one of which is late."""

from datetime import timedelta
from time import sleep

import torch.distributed as dist

from kubetune_trainer.training.groups import others_awaited


def apart() -> str:
    """What each rank comes to."""
    all_are_here = others_awaited()
    # As one of DeepSpeed's, whose ten minutes are too long for a test.
    impatient = dist.new_group(backend="gloo", timeout=timedelta(seconds=1))
    if dist.get_rank():
        sleep(2)
    all_are_here()
    dist.barrier(impatient)
    return "together"
