"""The servers of the tests: they end with the tests, however those end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from servers.processes import Process

PARENT = """
import sys, time
from pathlib import Path
from servers.processes import Process
Process(["sh", "-c", "echo $$; exec sleep 1000"], log=Path(sys.argv[1]))
time.sleep(1000)
"""


def read_pid(log: Path) -> int:
    """The first line of the log, once it is there."""
    while not (log.exists() and log.read_text().endswith("\n")):
        time.sleep(0.01)
    return int(log.read_text())


def is_gone(pid: int) -> bool:
    """Whether the process has ended, even where nobody collects the orphans of a container."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_server_dies_with_tests_that_are_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tests = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", PARENT, log], env={**os.environ, "PYTHONPATH": str(tests)}) as parent:
        server = read_pid(log)
        parent.send_signal(signal.SIGKILL)
    while not is_gone(server):
        time.sleep(0.01)


def test_a_server_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo the disk is full; exit 3"], log=tmp_path / "log")
    with pytest.raises(RuntimeError, match="ended with 3:\nthe disk is full"):
        process.wait_until(lambda: False)
