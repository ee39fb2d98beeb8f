"""The cores of a container."""

import os
from pathlib import Path

import pytest

from kubetune_trainer.cores import CORES, cores

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
