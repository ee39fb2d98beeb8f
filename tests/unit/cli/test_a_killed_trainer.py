"""A trainer that is ended before it can say why: one worker trains in it, so it takes all the memory of the run."""

import subprocess
import sys
from pathlib import Path

import pytest

from kubetune_cli.trainer_process import Trainer, out_of_memory_kills


def ended(script: str, counters: Path) -> Trainer:
    """A trainer of which only the end is known; the system had killed three processes for want of memory before."""
    return Trainer(iter(()), subprocess.Popen([sys.executable, "-c", script]), 3, counters)


@pytest.mark.parametrize(
    ("kills", "script", "by"),
    [
        (4, "import os; os.kill(os.getpid(), 9)", "memory"),
        (3, "import os; os.kill(os.getpid(), 9)", "kill"),
        (4, "import os; os.kill(os.getpid(), 15)", None),
        (4, "raise SystemExit(1)", None),
    ],
    ids=["the system killed it for want of memory", "somebody killed it", "it was asked to end", "it ended by itself"],
)
def test_the_systems_counters_tell_what_killed_it(tmp_path: Path, kills: int, script: str, by: str | None) -> None:
    (tmp_path / "vmstat").write_text(f"nr_free_pages 5\noom_kill {kills}\nswap_ra 0\n")
    assert ended(script, tmp_path / "vmstat").ended_by() == by


def test_a_system_without_such_counters_counts_none(tmp_path: Path) -> None:
    assert out_of_memory_kills(tmp_path / "vmstat") == 0
