"""The numbers of a checkpoint: flat ranges of tensors by name, so that any number of workers reads what it needs.

Each rank writes one safetensors file with the ranges that it holds. Nothing is pickled, and nothing in a file tells how
the ranks that wrote it were spread.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kubetune_trainer.checkpoint.manifest import DamagedError
from kubetune_trainer.training.engine_state import Range

_RANGES = "ranges"


class Place(NamedTuple):
    """Which numbers of a tensor a file has."""

    first: int
    last: int
    """The one behind them."""
    size: int
    """The numbers of the whole tensor."""


Places = dict[str, Place]
"""What a file has, by the names of the tensors."""


def write_shard(path: Path, ranges: Mapping[str, Range]) -> None:
    """Writes the ranges of one rank, by the names of their tensors."""
    places = {name: [one.start, one.size] for name, one in ranges.items()}
    tensors = {name: one.values for name, one in ranges.items()}
    save_file(tensors, path, metadata={"format": "pt", _RANGES: json.dumps(places)})


def places_in(path: Path) -> Places:
    """What a file says that it has; DamagedError where it is no shard."""
    try:
        with safe_open(path, framework="pt") as file:
            starts = json.loads((file.metadata() or {})[_RANGES])
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            return {
                name: Place(starts[name][0], starts[name][0] + count, starts[name][1])
                for name, (count,) in shapes.items()
            }
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
        raise DamagedError(f"{path.name} is no shard of a checkpoint ({type(error).__name__})") from None


def values_in(path: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """What a file has of these, in memory."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_slice(name)[:].clone() for name in names}


def cut(path: Path, wanted: Mapping[str, tuple[int, int]]) -> Path | None:
    """Leaves of a shard what is wanted: the file itself where that is half of it or more, else a smaller one in its
    place; None, and no file, where nothing is."""
    places = places_in(path)
    with safe_open(path, framework="pt") as file:
        # Slices are mapped from the file: nothing of it is in memory.
        left = {
            name: Range(first, file.get_slice(name)[first - places[name].first : last - places[name].first], size)
            for name, (_, _, size) in places.items()
            for first, last in [_common(places[name], wanted.get(name, (0, 0)))]
            if first < last
        }
    if 2 * sum(one.values.nbytes for one in left.values()) >= path.stat().st_size:
        return path
    smaller = path.with_suffix(".cut")
    if left:
        write_shard(smaller, left)
    path.unlink()
    return smaller if left else None


class Shards:
    """The files of all ranks as one, of which this rank has what it needs; within its block.

    DamagedError where they are not whole together.
    """

    def __init__(self, places: Sequence[Places], told: Mapping[str, torch.Tensor]) -> None:
        self._told = told
        """By name: small ones, whole, which every rank was told."""
        self.sizes: dict[str, int] = {}
        """By name: the numbers of each whole tensor."""
        self._places: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        """By name: the start and the end of each range, and the number of the file that has it, in order."""
        self._open = ExitStack()
        self._here: dict[str, list[tuple[int, int, Any]]] = defaultdict(list)
        """By name: those that are on this machine, and the file."""
        for number, shard in enumerate(places):
            for name, (first, last, size) in shard.items():
                if self.sizes.setdefault(name, size) != size:
                    raise DamagedError(f"the shards do not agree on {name}")
                self._places[name].append((first, last, number))
        self._refuse_gaps()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def files_with(self, wanted: Mapping[str, tuple[int, int]]) -> set[int]:
        """The numbers of the files that have any of it."""
        return {
            number
            for name, ends in wanted.items()
            for first, last, number in self._places.get(name, ())
            if len(range(*_common((first, last), ends)))
        }

    def add(self, path: Path) -> None:
        """From now on, what this file has is read."""
        file = self._open.enter_context(safe_open(path, framework="pt"))
        for name, (first, last, _) in places_in(path).items():
            self._here[name].append((first, last, file))
            self._here[name].sort(key=lambda one: one[:2])

    def read(self, name: str, start: int = 0, count: int | None = None) -> torch.Tensor:
        """So many numbers of a tensor, from `start` on; all that follow where nothing is said."""
        if count == 0:
            # A rank that holds nothing of it may begin behind its end.
            return torch.empty(0)
        if name in self._told:
            return self._told[name]
        end = self.sizes[name] if count is None else start + count
        parts = [
            file.get_slice(name)[max(start, first) - first : min(end, last) - first]
            for first, last, file in self._here[name]
            if first < end and last > start
        ]
        assert sum(map(len, parts)) == end - start, f"{name} has been kept from {start} to {end}"
        return torch.cat(parts) if len(parts) != 1 else parts[0]

    def spread(self, name: str, to: torch.Tensor) -> None:
        """Fills the whole of a tensor on every rank: each range comes from the rank that has compared its file."""
        for first, last, number in self._places[name]:
            if first == last:
                continue
            part, source = to[first:last], number % dist.get_world_size()
            if dist.get_rank() == source:
                part.copy_(self.read(name, first, last - first))
            dist.broadcast(part, src=source)

    def _refuse_gaps(self) -> None:
        for name, ranges in self._places.items():
            ranges.sort()
            ends = [0, *(last for _, last, _ in ranges)]
            # Each begins where the one before ends, and the last one ends with the tensor.
            if [first for first, _, _ in ranges] != ends[:-1] or ends[-1] != self.sizes[name]:
                raise DamagedError(f"the shards do not have all of {name}")


def _common(place: Sequence[int], wanted: tuple[int, int]) -> tuple[int, int]:
    """The ends of the numbers that both have."""
    return max(place[0], wanted[0]), min(place[1], wanted[1])
