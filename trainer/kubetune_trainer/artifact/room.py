"""Whether a worker's disk has room for what the run will write there: known before the training, not at its end.

What is fetched is on the disk by then.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from shutil import disk_usage
from tempfile import gettempdir

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_api.text import plural
from kubetune_api.text import size as shown
from kubetune_planner.optimizers import STATE_BYTES
from kubetune_planner.states import Precision
from kubetune_trainer.artifact.sharded import Shards
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods import Trainable, TrainingMethod
from kubetune_trainer.methods.base import STORED_AS

_GIB = 2**30
_MASTERS = 4
"""Bytes of a trained parameter in 32 bits."""


@dataclass(frozen=True)
class Writes:
    """The most bytes that lie on the disk at a time."""

    shared: int
    """Of each rank: its share of a checkpoint, or a file of a model in several."""
    whole: int = 0
    """Of the rank that writes a model in one file."""

    @classmethod
    def of(
        cls,
        spec: FineTuneJobSpec,
        method: TrainingMethod,
        trainable: Trainable,
        precision: Precision,
        workers: int,
        *,
        saves: bool,
    ) -> "Writes":
        """What a training of this model writes, with its checkpoints or without."""
        number, (parameters, trained) = STORED_AS[precision], trainable.parameters
        share = 0
        if saves:
            kept = number.itemsize if spec.training.kept == "Best" else 0
            each = _MASTERS + STATE_BYTES[spec.training.optimizer.type] + kept
            share = -(-trained * each // workers)
        shards = Shards.of(method.as_stored(trainable.loaded.model), number)
        if len(shards.files) > 1:
            return cls(max(share, shards.largest))
        published = trained if spec.method.publishes_adapter else parameters
        return cls(share, published * number.itemsize)

    def on_one_disk(self, ranks: int) -> int:
        """Of so many ranks together; the model is written once the last checkpoint is uploaded."""
        return max(ranks * self.shared, self.whole)


def refuse_small_disk(wanted: Writes, limit: int | None) -> None:
    """RunError (STORAGE_FAILED) where the disk is too small; `limit` as in `lack_of_room`."""
    if lack := lack_of_room(wanted.on_one_disk(ranks_here()), limit):
        raise RunError(Reason.STORAGE_FAILED, lack)


def ranks_here() -> int:
    """How many share the memory and the disk of this one."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def lack_of_room(needs: int, limit: int | None) -> str:
    """Why there is no room on the disk for so many bytes, in a sentence; nothing where there is. `limit`: how much the
    pod may have there in all, in bytes; None where it has a disk of its own."""
    folder, workers = Path(gettempdir()), plural(ranks_here(), "worker")
    free, used = disk_usage(folder).free, sum(_sizes(folder)) if limit is not None else 0
    if limit is not None and limit - used < needs:
        return (
            f"the disk of a worker's pod is too small: {workers} of the pod will write up to"
            f" {shown(needs)} beside {shown(used)} that are there, and the profile's scratchSize allows {shown(limit)}"
            f" in all; set it to {ceil((needs + used) / _GIB)}Gi or more"
        )
    if free < needs:
        return (
            f"the disk of a worker is too small: {workers} will write up to {shown(needs)} to {folder},"
            f" where {shown(free)} are free; free some space, or set TMPDIR to a folder on a larger disk"
        )
    return ""


def _sizes(folder: Path) -> Iterator[int]:
    """What each file below takes; some may go meanwhile."""
    for here, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(here, name).lstat().st_blocks * 512
            except OSError:
                continue
