"""How long the process groups of a training wait for a rank that is late.

By default a group of NCCL waits ten minutes and then ends the process without a sentence: too short where one node
loads a large model more slowly than another. What hangs is the watchdog's to tell and to end, long before.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d

PATIENCE = timedelta(hours=24)


def wait_patiently() -> None:
    """All groups of this process, those too that a library has made without a word on their time."""
    for group in list(distributed_c10d._world.pg_map):
        dist.set_timeout(PATIENCE, group)


def others_awaited() -> Callable[[], None]:
    """What returns once every rank has called it: the groups of a training are made after it, and their first exchange
    is one that no node is late for. To be asked for while the ranks are together yet, as its own group takes that."""
    if dist.get_world_size() == 1:
        return lambda: None
    group: Any = dist.new_group(backend="gloo", timeout=PATIENCE)

    def wait() -> None:
        dist.barrier(group)
        dist.destroy_process_group(group)

    return wait
