"""How long the process groups of a training wait for a rank that is late.

By default a group of NCCL waits ten minutes and then ends the process without a sentence: too short where one node
loads a large model more slowly than another. What hangs is the watchdog's to tell and to end, long before.
"""

from datetime import timedelta

import torch.distributed as dist
from torch.distributed import distributed_c10d

PATIENCE = timedelta(hours=24)


def wait_patiently() -> None:
    """All groups of this process, those too that a library has made without a word on their time."""
    for group in list(distributed_c10d._world.pg_map):
        dist.set_timeout(PATIENCE, group)
