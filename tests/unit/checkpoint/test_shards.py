"""Flat ranges in files, one of each rank, are read as whole tensors; what is not whole together is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from kubetune_trainer.checkpoint.manifest import DamagedError
from kubetune_trainer.checkpoint.shards import Shards, cut, places_in, write_shard
from kubetune_trainer.training.engine_state import Range

WEIGHTS, COUNT = torch.arange(10.0), torch.tensor([3.0])


def written(folder: Path, *ends: int, size: int = 10) -> list[Path]:
    """A file for each range of the weights, which end there."""
    paths = []
    for first, last in zip((0, *ends), ends, strict=False):
        paths.append(folder / f"rank-{len(paths)}.safetensors")
        ranges = {"weight/a": Range(first, WEIGHTS[first:last].clone(), size)}
        write_shard(paths[-1], ranges | ({} if len(paths) > 1 else {"whole/step/a": Range(0, COUNT, 1)}))
    return paths


def whole(files: Sequence[Path]) -> Shards:
    """Those of all ranks, on a machine that has all of them."""
    shards = Shards([places_in(path) for path in files], {})
    for path in files:
        shards.add(path)
    return shards


@pytest.mark.parametrize("ends", [(10,), (4, 10), (1, 2, 10), (0, 10)], ids=str)
def test_any_range_is_read_from_any_number_of_files(ends: tuple[int, ...], tmp_path: Path) -> None:
    with whole(written(tmp_path, *ends)) as shards:
        assert shards.sizes == {"weight/a": 10, "whole/step/a": 1}
        for first in range(11):
            for last in range(first, 11):
                assert torch.equal(shards.read("weight/a", first, last - first), WEIGHTS[first:last])
        assert torch.equal(shards.read("weight/a"), WEIGHTS)
        assert torch.equal(shards.read("whole/step/a"), COUNT)


def test_a_range_that_is_not_there_is_told(tmp_path: Path) -> None:
    first, _, last = written(tmp_path, 3, 6, 10)
    with pytest.raises(DamagedError, match="do not have all of weight/a"):
        whole([first, last])
    with pytest.raises(DamagedError, match="do not have all of weight/a"):
        whole([first])


def test_a_range_that_is_there_twice_is_told(tmp_path: Path) -> None:
    first, second = written(tmp_path, 4, 10)
    with pytest.raises(DamagedError, match="do not have all of"):
        whole([first, second, first])


def test_files_that_do_not_agree_are_told(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, _ = written(tmp_path, 4, 10)
    _, other = written(tmp_path / "other", 4, 10, size=11)
    with pytest.raises(DamagedError, match="do not agree on weight/a"):
        whole([first, other])


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.safetensors"
    path.write_bytes(b"\x80\x04not a shard")
    with pytest.raises(DamagedError, match="no shard of a checkpoint"):
        whole([path])


def test_of_a_file_no_more_stays_than_is_wanted(tmp_path: Path) -> None:
    for number, (wanted, left) in enumerate([((2, 4), (3, 4)), ((7, 12), (7, 10)), ((0, 1), None)]):
        (tmp_path / str(number)).mkdir()
        _, path = written(tmp_path / str(number), 3, 10)
        shards = Shards([places_in(one) for one in (_, path)], {})
        kept = cut(path, {"weight/a": wanted})
        assert not path.exists()
        assert (kept is None) == (left is None)
        if kept is not None and left is not None:
            with shards:
                shards.add(kept)
                assert places_in(kept)["weight/a"] == (*left, 10)
                assert torch.equal(shards.read("weight/a", left[0], left[1] - left[0]), WEIGHTS[slice(*left)])


def test_a_file_of_which_half_is_wanted_stays_as_it_is(tmp_path: Path) -> None:
    path, numbers = tmp_path / "rank-0.safetensors", torch.arange(1000.0)
    write_shard(path, {"weight/a": Range(0, numbers, 1000)})
    content = path.read_bytes()
    assert cut(path, {"weight/a": (0, 600)}) == path
    assert path.read_bytes() == content
