"""How long process groups wait for a rank that is late."""

from collections.abc import Iterator
from datetime import timedelta
from math import isfinite

import pytest
import torch.distributed as dist

from kubetune_trainer.training.groups import PATIENCE, wait_patiently
from kubetune_trainer.watchdog import pulse
from support.apart import apart
from support.ranks import run_ranks


@pytest.fixture
def group() -> Iterator[dist.ProcessGroup]:
    """One that a library has made beside the first, with a time of its own."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield dist.new_group([0], timeout=timedelta(minutes=1))
    dist.destroy_process_group()


def timeout(group: dist.ProcessGroup) -> timedelta:
    return group._get_backend(dist.torch.device("cpu")).options._timeout


def test_every_group_waits_until_the_watchdog_has_spoken(group: dist.ProcessGroup) -> None:
    assert timeout(group) == timedelta(minutes=1)
    wait_patiently()
    assert timeout(group) == timeout(dist.group.WORLD) == PATIENCE


def test_no_group_gives_up_before_the_watchdog() -> None:
    limits = [thing.seconds for thing in vars(pulse).values() if isinstance(thing, pulse.Doing)]
    assert PATIENCE.total_seconds() > 2 * max(seconds for seconds in limits if isfinite(seconds))


def test_ranks_wait_for_one_that_loads_for_longer_than_their_group_waits_for_an_exchange() -> None:
    assert run_ranks(apart, 2) == ["together", "together"]
