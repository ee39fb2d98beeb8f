"""How much memory this process can still take. A container's limit shows in none of Python's own counts."""

import re
from pathlib import Path

from kubetune_trainer.cores import CGROUP

MEMINFO = Path("/proc/meminfo")


def free_memory(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int:
    """In bytes, what the system keeps of files and would give back included; 0 where nothing tells it."""
    free = (_of_machine(meminfo), _of_container(cgroup))
    return min((size for size in free if size is not None), default=0)


def _of_machine(meminfo: Path) -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _of_container(cgroup: Path) -> int | None:
    """None without a limit."""
    try:
        limit, used = ((cgroup / name).read_text().strip() for name in ("memory.max", "memory.current"))
        kept = re.search(r"^inactive_file (\d+)$", (cgroup / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - int(used) + (int(kept[1]) if kept else 0))
