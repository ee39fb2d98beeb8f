"""Flat ranges in files, one of each rank, are read as whole tensors; what is not whole together is refused."""

from pathlib import Path

import pytest
import torch

from kubetune_trainer.checkpoint.manifest import DamagedError
from kubetune_trainer.checkpoint.shards import Shards, write_shard
from kubetune_trainer.training.engine_state import Range

WEIGHTS, COUNT = torch.arange(10.0), torch.tensor([3.0])


def cut(folder: Path, *ends: int, size: int = 10) -> list[Path]:
    """A file for each range of the weights, which end there."""
    paths = []
    for first, last in zip((0, *ends), ends, strict=False):
        paths.append(folder / f"rank-{len(paths)}.safetensors")
        ranges = {"weight/a": Range(first, WEIGHTS[first:last].clone(), size)}
        write_shard(paths[-1], ranges | ({} if len(paths) > 1 else {"whole/step/a": Range(0, COUNT, 1)}))
    return paths


@pytest.mark.parametrize("ends", [(10,), (4, 10), (1, 2, 10), (0, 10)], ids=str)
def test_any_range_is_read_from_any_number_of_files(ends: tuple[int, ...], tmp_path: Path) -> None:
    with Shards(cut(tmp_path, *ends)) as shards:
        assert shards.sizes == {"weight/a": 10, "whole/step/a": 1}
        for first in range(11):
            for last in range(first, 11):
                assert torch.equal(shards.read("weight/a", first, last - first), WEIGHTS[first:last])
        assert torch.equal(shards.read("weight/a"), WEIGHTS)
        assert torch.equal(shards.read("whole/step/a"), COUNT)


def test_a_range_that_is_not_there_is_told(tmp_path: Path) -> None:
    first, _, last = cut(tmp_path, 3, 6, 10)
    with pytest.raises(DamagedError, match="do not have all of weight/a"), Shards([first, last]):
        pass
    with pytest.raises(DamagedError, match="do not have all of weight/a"), Shards([first]):
        pass


def test_a_range_that_is_there_twice_is_told(tmp_path: Path) -> None:
    first, second = cut(tmp_path, 4, 10)
    with pytest.raises(DamagedError, match="do not have all of"), Shards([first, second, first]):
        pass


def test_files_that_do_not_agree_are_told(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, _ = cut(tmp_path, 4, 10)
    _, other = cut(tmp_path / "other", 4, 10, size=11)
    with pytest.raises(DamagedError, match="do not agree on weight/a"), Shards([first, other]):
        pass


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.safetensors"
    path.write_bytes(b"\x80\x04not a shard")
    with pytest.raises(DamagedError, match="no shard of a checkpoint"), Shards([path]):
        pass
