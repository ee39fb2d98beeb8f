"""A model that is too large for one file: each rank publishes some of its shards.

No rank has more of it in its main memory and on its disk than one shard at a time, beside its part of the training.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from kubetune_planner.host import FILE_OF_MODEL
from kubetune_trainer.methods.base import Shapes
from kubetune_trainer.methods.gather import on_rank
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.configs import INDEX
from kubetune_trainer.storage.store import Store
from kubetune_trainer.watchdog.pulse import GATHERING, PULSE, UPLOADING

LARGEST = FILE_OF_MODEL
"""Bytes of a shard; of one that holds a single larger tensor, more."""


@dataclass(frozen=True)
class Shards:
    """How a model is cut into files, alike on every rank."""

    tensors: Mapping[str, torch.Tensor]
    """All that is published, as the engine has it."""
    files: Mapping[str, list[str]]
    """The names of their tensors, by the names of the files."""
    size: int
    """Bytes of all tensors."""
    largest: int
    """Bytes of the largest file."""

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], number: torch.dtype | None = None) -> "Shards":
        """As transformers cuts a model; as if its numbers were of the type `number`, where one is named."""
        without_numbers = {
            name: torch.empty(shape_of(tensor), dtype=number or tensor.dtype, device="meta")
            for name, tensor in tensors.items()
        }
        split = split_torch_state_dict_into_shards(without_numbers, max_shard_size=LARGEST)
        files = split.filename_to_tensors
        sizes = [sum(without_numbers[name].nbytes for name in names) for names in files.values()]
        return cls(tensors, files, sum(sizes), max(sizes, default=0))

    @property
    def shapes(self) -> Shapes:
        """By tensor."""
        return {name: shape_of(tensor) for name, tensor in self.tensors.items()}

    def of_rank(self, rank: int) -> set[str]:
        """The files that a rank publishes."""
        return set(list(self.files)[rank :: dist.get_world_size()])

    def upload(self, store: Store, folder: str) -> list[StoredFile]:
        """Puts the files of this rank together, one after the other, and uploads them.

        Every rank calls it: each has its part in what the others put together.
        """
        names, workers = list(self.files), dist.get_world_size()
        uploaded = []
        for first in range(0, len(names), workers):
            PULSE.mark(GATHERING)
            if own := self._put_together(names[first : first + workers]):
                PULSE.mark(UPLOADING)
                uploaded.append(_upload(own, names[first + dist.get_rank()], store, folder))
        return uploaded

    def _put_together(self, names: list[str]) -> dict[str, torch.Tensor]:
        """One file for each rank; what this one's holds."""
        own = {}
        for rank, file in enumerate(names):
            for name in self.files[file]:
                copy = on_rank(rank, self.tensors[name])
                if copy is not None:
                    own[name] = copy.contiguous()
        return own

    def write_index(self, folder: Path) -> None:
        """Writes what says which tensor is in which file."""
        places = {name: file for file, names in self.files.items() for name in names}
        index = {"metadata": {"total_size": self.size}, "weight_map": places}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """Also of one that ZeRO-3 has cut."""
    return tuple(getattr(tensor, "ds_shape", tensor.shape))


def _upload(tensors: dict[str, torch.Tensor], name: str, store: Store, folder: str) -> StoredFile:
    """Empties `tensors`, of which nothing is needed once they are written."""
    with TemporaryDirectory(prefix="kubetune-") as scratch:
        file = Path(scratch) / name
        save_file(tensors, file, metadata={"format": "pt"})
        tensors.clear()
        return store.upload(file, f"{folder}/{name}")
