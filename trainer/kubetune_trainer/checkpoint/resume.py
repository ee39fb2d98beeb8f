"""How a training goes on from the newest checkpoint that is whole: each file is fetched, and compared by its digest."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from kubetune_trainer.checkpoint.history import History, from_json
from kubetune_trainer.checkpoint.manifest import Checkpoint, DamagedError
from kubetune_trainer.checkpoint.saver import RANDOM
from kubetune_trainer.checkpoint.shards import Shards
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.store import MissingObjectError, Store
from kubetune_trainer.tasks.base import Detailed, TrainingTask
from kubetune_trainer.training.engine_state import restore, restore_counters, trained
from kubetune_trainer.training.exchange import of_all_ranks
from kubetune_trainer.training.going import Going


@dataclass(frozen=True)
class Resumed:
    """What a training went on from."""

    step: int
    """0: from the pretrained model."""
    history: History
    skipped: tuple[str, ...]
    """Why newer checkpoints were not used, in sentences."""


def resume(
    going: Going, store: Store, candidates: Sequence[Checkpoint], task: TrainingTask, space: object, seed: int
) -> Resumed:
    """Gives the training the first of the candidates that every rank finds whole. Every rank calls it."""
    skipped: list[str] = []
    for checkpoint in candidates:
        with ExitStack() as open_files:
            try:
                found, problem = _fetched(checkpoint, store, open_files, going, task, space), None
            except DamagedError as error:
                found, problem = None, str(error)
            problems = [one for one in of_all_ranks([problem]) if one is not None]
            if not problems:
                assert found is not None, "every rank has it"
                shards, history = found
                _restore(going, shards, history, checkpoint, seed)
                return Resumed(checkpoint.step, history, tuple(skipped))
            skipped.append(f"the checkpoint of step {checkpoint.step:,} cannot be used: {problems[0]}")
    return Resumed(0, History((), ()), tuple(skipped))


def _fetched(
    checkpoint: Checkpoint, store: Store, open_files: ExitStack, going: Going, task: TrainingTask, space: object
) -> tuple[Shards, History]:
    scratch = Path(open_files.enter_context(TemporaryDirectory(prefix="kubetune-")))
    paths = []
    for number, file in enumerate(checkpoint.files):
        paths.append(scratch / f"{number}-{file.name.rpartition('/')[2]}")
        _fetch(file, store, paths[-1])
    shards = open_files.enter_context(Shards(paths[:-1]))
    for name, parameter in trained(going.engine):
        size = getattr(parameter, "ds_numel", parameter.numel())
        if f"weight/{name}" not in shards.sizes or shards.sizes[f"weight/{name}"] != size:
            raise DamagedError(f"it does not have {name}")
    details = task.details if isinstance(task, Detailed) else None
    return shards, from_json(paths[-1].read_bytes(), details=details, space=type(space))


def _fetch(file: StoredFile, store: Store, to: Path) -> None:
    try:
        found = store.download(file.name, to)
    except MissingObjectError:
        raise DamagedError(f"{file.name} is missing") from None
    if found.size != file.size:
        raise DamagedError(f"{file.name} has {found.size:,} bytes, and {file.size:,} were written")
    if found.sha256 != file.sha256:
        raise DamagedError(f"{file.name} was changed")


def _restore(going: Going, shards: Shards, history: History, checkpoint: Checkpoint, seed: int) -> None:
    loop = history.loop
    with torch.no_grad():
        restore(going.engine, shards.sizes, shards.read, loop["shapes"])
        if any(name.startswith("best/") for name in shards.sizes):
            going.weights.restore(shards.read)
    restore_counters(going.engine, loop)
    going.watch.restore(loop["watch"])
    going.settled.update(history.settled)
    rank = dist.get_rank()
    if checkpoint.workers != dist.get_world_size():
        # Other ranks draw other numbers: those of this step, which no rank has drawn before.
        torch.manual_seed(seed + rank + checkpoint.step)
        return
    torch.set_rng_state(shards.read(f"{RANDOM}/cpu/{rank}"))
    if torch.cuda.is_available() and f"{RANDOM}/cuda/{rank}" in shards.sizes:
        torch.cuda.set_rng_state(shards.read(f"{RANDOM}/cuda/{rank}"))
