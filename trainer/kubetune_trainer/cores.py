"""How many cores this process may use. A container's limit shows in none of Python's own counts.

Without it a worker that gets two cores of a node with a hundred starts a hundred threads, which wait for each other.
"""

import os
from collections.abc import Mapping
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


CORES = "KUBETUNE_CORES"
"""The variable with the container's limit, for nodes that do not enforce it (`cpuCFSQuota: false`): two workers there
would each use all cores."""


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
