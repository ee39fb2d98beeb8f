"""The files of one rank's part of a checkpoint, on their way to the store; in a thread, beside the training."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kubetune_api.text import plural, size
from kubetune_trainer.artifact.room import lack_of_room, ranks_here
from kubetune_trainer.checkpoint.history import History, to_json
from kubetune_trainer.checkpoint.shards import write_shard
from kubetune_trainer.errors import RunError, explained, unexplained
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.store import Store
from kubetune_trainer.training.engine_state import Range

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Uploaded:
    """What one rank has done for a checkpoint."""

    files: tuple[StoredFile, ...]
    """The shard first; on rank 0 then what was recorded, and what the loop remembers."""
    stall_seconds: float
    """How long it stood still for its copy."""
    upload_seconds: float


def why(error: BaseException) -> str:
    """What a person reads of it."""
    return (explained([error]) or unexplained(error)).message


def lack_for_copies(held: Mapping[str, Range], free: int, scratch: int | None) -> list[str]:
    """Why copies of what all ranks of this machine hold do not fit into its main memory, of which so many bytes are
    free (0: nobody knows), or onto its disk, with `scratch` as the limit of `lack_of_room`: the system would kill a
    process, or the kubelet evict the pod. Nothing where they fit.
    """
    needs = ranks_here() * sum(one.values.nbytes for one in held.values())
    if free and needs > free:
        return [
            f"a copy of what is saved takes {size(needs)} of main memory for {plural(ranks_here(), 'worker')}, and"
            f" {size(free)} are free; give the worker of the profile more memory, or the job more workers"
        ]
    try:
        lack = lack_of_room(needs, scratch)
    except OSError as error:
        return [why(error)]
    return [lack] if lack else []


def upload(
    store: Store,
    folder: str,
    rank: int,
    copies: Mapping[str, Range],
    told: tuple[History, History] | None,
    given_up: Callable[[], bool],
) -> tuple[StoredFile, ...]:
    """Writes them; where that fails, nothing of them is left, so that a store that is full does not stay so."""
    files: list[StoredFile] = []
    try:
        with TemporaryDirectory(prefix="kubetune-") as scratch:
            shard = Path(scratch) / f"rank-{rank:05}.safetensors"
            write_shard(shard, copies)
            files.append(store.upload(shard, f"{folder}/{shard.name}", given_up))
            for name, history in zip(("records.json", "history.json"), told or (), strict=False):
                file = Path(scratch) / name
                file.write_bytes(to_json(history))
                files.append(store.upload(file, f"{folder}/{name}"))
    except Exception:
        discard(store, files)
        raise
    return tuple(files)


def discard(store: Store, files: Sequence[StoredFile]) -> None:
    """Removes what was uploaded of a checkpoint that is not saved."""
    try:
        for file in files:
            store.delete(file.name)
    except RunError as error:
        # The next execution removes it, or this one once it has published.
        _log.warning("What was uploaded of a checkpoint that was not saved stays: %s", error)
