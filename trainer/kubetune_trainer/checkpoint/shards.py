"""The numbers of a checkpoint: flat ranges of tensors by name, so that any number of workers reads what it needs.

Each rank writes one safetensors file with the ranges that it holds. Nothing is pickled, and nothing in a file tells how
the ranks that wrote it were spread.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kubetune_trainer.checkpoint.manifest import DamagedError
from kubetune_trainer.training.engine_state import Range

_RANGES = "ranges"


def write_shard(path: Path, ranges: Mapping[str, Range]) -> None:
    """Writes the ranges of one rank, by the names of their tensors."""
    places = {name: [one.start, one.size] for name, one in ranges.items()}
    tensors = {name: one.values for name, one in ranges.items()}
    save_file(tensors, path, metadata={"format": "pt", _RANGES: json.dumps(places)})


class Shards:
    """The files of all ranks, read as one; within its block. DamagedError where they are not whole together."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._paths, self._open = files, ExitStack()
        self._ranges: dict[str, list[tuple[int, int, Any]]] = defaultdict(list)
        """By name: the start and the end of each range, and the file that has it, in order."""
        self.sizes: dict[str, int] = {}
        """By name: the numbers of each whole tensor."""

    def __enter__(self) -> Self:
        try:
            for path in self._paths:
                self._add(path)
            self._refuse_gaps()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, name: str, start: int = 0, count: int | None = None) -> torch.Tensor:
        """So many numbers of a tensor, from `start` on; all that follow where nothing is said."""
        if count == 0:
            # A rank that holds nothing of it may begin behind its end.
            return self._ranges[name][0][2].get_slice(name)[:0]  # type: ignore[no-any-return]
        end = self.sizes[name] if count is None else start + count
        assert end <= self.sizes[name], f"{name} has no number {end}"
        parts = [
            file.get_slice(name)[max(start, first) - first : min(end, last) - first]
            for first, last, file in self._ranges[name]
            if first < end and last > start
        ]
        return torch.cat(parts) if len(parts) != 1 else parts[0]

    def _add(self, path: Path) -> None:
        try:
            file = self._open.enter_context(safe_open(path, framework="pt"))
            places = json.loads((file.metadata() or {})[_RANGES])
            found = [(name, *places[name], file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise DamagedError(f"{path.name} is no shard of a checkpoint ({type(error).__name__})") from None
        for name, start, size, shape in found:
            if len(shape) != 1 or self.sizes.setdefault(name, size) != size:
                raise DamagedError(f"the shards do not agree on {name}")
            self._ranges[name].append((start, start + shape[0], file))

    def _refuse_gaps(self) -> None:
        for name, ranges in self._ranges.items():
            ranges.sort(key=lambda one: one[:2])
            ends = [0, *(last for _, last, _ in ranges)]
            # Each begins where the one before ends, and the last one ends with the tensor.
            if [first for first, _, _ in ranges] != ends[:-1] or ends[-1] != self.sizes[name]:
                raise DamagedError(f"the shards do not have all of {name}")
