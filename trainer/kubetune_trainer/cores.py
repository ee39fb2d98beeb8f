"""How many cores this process may use. A container's limit shows in none of Python's own counts.

Without it a worker that gets two cores of a node with a hundred starts a hundred threads, which wait for each other.
How they wait is for the OpenMP runtime, which reads it when it is loaded: from there on only the number can be set.
"""

import os
from collections.abc import Mapping, MutableMapping
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


CORES = "KUBETUNE_CORES"
"""The variable with the container's limit, for nodes that do not enforce it (`cpuCFSQuota: false`): two workers there
would each use all cores."""
_THREADS, _WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"
_ASKED = "KUBETUNE_THREADS"
"""What the first had when the trainer started: Ray gives each of its workers a first of its own."""


def settle_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """For this process and those that it starts, before torch is imported; what was set by hand stays.

    By default a thread that has nothing to do spins on its core for a while. Where another process wants that core, the
    thread that is waited for does not get it, and a step takes ten times as long.
    """
    environment.setdefault(_WAITING, "PASSIVE")
    # In a cluster it is Ray's own, that of the actor which has started this process.
    if not environment.get("RAY_ADDRESS") and (asked := environment.get(_THREADS)):
        environment[_ASKED] = asked


def threads(sharing: int = 1, environment: Mapping[str, str] = os.environ) -> int:
    """How many threads compute in this process, if so many like it share the cores; at least 1."""
    # OpenMP takes a list, one number for each depth of nested threads.
    asked = environment.get(_ASKED, "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) else max(1, cores(environment=environment) // sharing)


def cores(cgroup: Path = CGROUP, environment: Mapping[str, str] = os.environ) -> int:
    """At least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, ceil(_quota(cgroup) or allowed), int(environment.get(CORES) or allowed)))


def _quota(cgroup: Path) -> float | None:
    """The container's limit, in cores; None if there is none."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = _old_quota(cgroup / "cpu")
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max" is no limit
        return None


def _old_quota(cgroup: Path) -> tuple[str, str]:
    """The same of a node that has cgroups of the first version."""
    try:
        return (cgroup / "cpu.cfs_quota_us").read_text(), (cgroup / "cpu.cfs_period_us").read_text()
    except OSError:
        return "max", "100000"
