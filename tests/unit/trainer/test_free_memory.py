"""How much memory a process can still take, in a container and out of one."""

from pathlib import Path

import pytest

from kubetune_trainer.artifact.free_memory import free_memory

GIB = 2**30


@pytest.mark.parametrize(
    ("limit", "free"),
    [("max", 6 * GIB), (str(4 * GIB), 2 * GIB), (str(64 * GIB), 6 * GIB), (str(GIB), 0)],
    ids=["no limit", "a limit", "a limit above what the machine has", "a limit that is passed already"],
)
def test_what_the_container_and_the_machine_both_have_left_is_free(tmp_path: Path, limit: str, free: int) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {GIB}\nactive_file 1\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:    {6 * GIB // 1024} kB\n")
    assert free_memory(tmp_path, tmp_path / "meminfo") == free


def test_where_nothing_tells_nothing_is_free(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "none", tmp_path / "none") == 0
