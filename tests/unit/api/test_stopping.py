"""The hook of a pod that ends, run by sh as Kubernetes runs it, against processes of a run."""

import os
import subprocess
import sys
from pathlib import Path

from kubetune_api.stopping import STOP_VARIABLE, StopSign, stop_hook

_A_RUN = """
import os, sys, time
from kubetune_api.stopping import StopSign
sign = StopSign.of_this_pod()
sign.awaits_this_process()
print("there", flush=True)
while not sign.is_up:
    time.sleep(0.02)
"""


def test_a_process_sees_that_its_pod_ends_and_the_hook_waits_until_it_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "stop"
    environment = {**os.environ, STOP_VARIABLE: str(folder)}
    run = subprocess.Popen([sys.executable, "-c", _A_RUN], env=environment, stdout=subprocess.PIPE)
    assert run.stdout is not None
    with run.stdout as told:
        assert told.readline() == b"there\n"
    hook = subprocess.Popen(stop_hook(60, str(folder)))

    assert run.wait(timeout=60) == 0
    # A process that nobody has waited for is in /proc until then.
    assert hook.wait(timeout=60) == 0


def test_the_hook_of_a_pod_without_a_run_returns_at_once_and_whoever_starts_later_sees_it(tmp_path: Path) -> None:
    folder = tmp_path / "stop"
    assert not StopSign(folder).is_up

    assert subprocess.run(stop_hook(3600, str(folder)), timeout=60).returncode == 0
    assert StopSign(folder).is_up


def test_the_hook_does_not_wait_for_a_process_that_was_killed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes" / str(gone.pid)).touch()

    assert subprocess.run(stop_hook(3600, str(tmp_path)), timeout=60).returncode == 0


def test_the_hook_waits_no_longer_than_it_was_told(tmp_path: Path) -> None:
    StopSign(tmp_path).awaits_this_process()
    assert subprocess.run(stop_hook(1, str(tmp_path)), timeout=60).returncode == 0
    assert StopSign(tmp_path).is_up


def test_where_the_environment_names_no_folder_no_file_ends_a_run() -> None:
    sign = StopSign.of_this_pod({})
    sign.awaits_this_process()
    assert not sign.is_up


def test_a_folder_that_cannot_be_written_to_keeps_no_run_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sign = StopSign(tmp_path / "file" / "stop")
    sign.awaits_this_process()
    assert not sign.is_up
