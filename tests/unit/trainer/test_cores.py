"""The cores of a container."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubetune_trainer.cores import CORES, cores, settle_threads, threads

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, ALL, id="no limit"),
        pytest.param({"cpu.max": "max 100000\n"}, ALL, id="no limit, in words"),
        pytest.param({"cpu.max": "100000 100000\n"}, 1, id="one core"),
        pytest.param({"cpu.max": "50000 100000\n"}, 1, id="half a core"),
        pytest.param({"cpu.max": "99900000 100000\n"}, ALL, id="more than there are"),
        pytest.param({"cpu.max": "nonsense"}, ALL, id="what cannot be read"),
        pytest.param({"cpu/cpu.cfs_quota_us": "80000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1, id="cgroups, old"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALL, id="old, no limit"),
    ],
)
def test_a_containers_limit_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cores(tmp_path, {}) == expected


@pytest.mark.parametrize(("given", "expected"), [("1", 1), ("4096", ALL), ("", ALL)])
def test_a_limit_that_the_node_does_not_enforce_counts_too(tmp_path: Path, given: str, expected: int) -> None:
    """N7"""
    assert cores(tmp_path, {CORES: given}) == expected


@pytest.mark.parametrize(
    ("given", "sharing", "expected"),
    [
        pytest.param({}, 1, ALL, id="every core"),
        pytest.param({}, ALL, 1, id="a worker for each core"),
        pytest.param({}, 4096, 1, id="more workers than cores"),
        pytest.param({"OMP_NUM_THREADS": "3"}, 1, 3, id="as many as were asked for"),
        pytest.param({"OMP_NUM_THREADS": "3"}, 2, 3, id="of each worker"),
        pytest.param({"OMP_NUM_THREADS": "3,1"}, 1, 3, id="a list, by depth"),
        pytest.param({"OMP_NUM_THREADS": "0"}, 1, ALL, id="none"),
        pytest.param({"OMP_NUM_THREADS": "many"}, 1, ALL, id="no number"),
        pytest.param({"OMP_NUM_THREADS": "3", "RAY_ADDRESS": "auto"}, 1, ALL, id="Ray's own, in a cluster"),
    ],
)
def test_the_threads_that_were_asked_for_count(given: dict[str, str], sharing: int, expected: int) -> None:
    environment = dict(given)
    settle_threads(environment)
    # Ray gives each of its workers one thread, unless told otherwise.
    assert threads(sharing, {"OMP_NUM_THREADS": "1"} | environment) == expected


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_sleep_where_nobody_wants_them_to_spin(given: dict[str, str], expected: str) -> None:
    environment = dict(given)
    settle_threads(environment)
    assert environment["OMP_WAIT_POLICY"] == expected


def test_the_trainer_settles_it_before_an_openmp_runtime_is_loaded() -> None:
    """Importing its entry loads none; later the runtime would not look any more."""
    loaded = "import kubetune_trainer.__main__; print('omp' in open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
