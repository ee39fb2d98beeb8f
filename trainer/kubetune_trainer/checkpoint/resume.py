"""How a training goes on from the newest checkpoint that is whole: each file is fetched, and compared by its digest.

No rank has all of it. A shard is fetched to the disk, compared, cut to what the rank holds of it, and then comes the
next. Each is compared by one rank at least, which tells all others what the file has, so that a rank fetches only those
shards that it holds something of: its own alone, where the training is spread as before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist

from kubetune_trainer.checkpoint.history import History, from_json, joined
from kubetune_trainer.checkpoint.manifest import Checkpoint, DamagedError
from kubetune_trainer.checkpoint.random_states import names_of_random_states, restore_random_states
from kubetune_trainer.checkpoint.shards import Places, Shards, cut, places_in, values_in
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.store import MissingObjectError, Store
from kubetune_trainer.tasks.base import Detailed, TrainingTask
from kubetune_trainer.training.engine_state import Ends, is_whole, restore, restore_counters, shared, trained, wanted
from kubetune_trainer.training.exchange import of_all_ranks
from kubetune_trainer.training.going import Going

_Each = TypeVar("_Each")


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
    """Gives the training the first of the candidates that is whole. Every rank calls it."""
    skipped: list[str] = []
    for checkpoint in candidates:
        with TemporaryDirectory(prefix="kubetune-") as scratch:
            reading = _Reading(checkpoint, store, Path(scratch), going)
            try:
                history = reading.history(task, space)
                shards = reading.shards()
            except DamagedError as error:
                skipped.append(f"the checkpoint of step {checkpoint.step:,} cannot be used: {error}")
                continue
            with shards:
                _restore(going, shards, history, checkpoint, seed)
            return Resumed(checkpoint.step, history, tuple(skipped))
    return Resumed(0, History((), ()), tuple(skipped))


class _Compared(NamedTuple):
    """What the rank that has compared a shard tells all of it."""

    number: int
    places: Places
    told: dict[str, torch.Tensor]
    """What is small: ranks would fetch a shard for a single number."""


class _Reading:
    """One checkpoint, of which this rank keeps its part in a folder. Every rank calls each method in the same order;
    DamagedError, the same on each, where any of them finds that the checkpoint is not whole."""

    def __init__(self, checkpoint: Checkpoint, store: Store, scratch: Path, going: Going) -> None:
        self._checkpoint, self._store, self._scratch, self._going = checkpoint, store, scratch, going
        self._kept: list[Path] = []

    def history(self, task: TrainingTask, space: object) -> History:
        """What it has besides tensors."""
        details = task.details if isinstance(task, Detailed) else None

        def read() -> History:
            numbers = range(len(self._checkpoint.shards), len(self._checkpoint.files))
            contents = (self._fetched(number).read_bytes() for number in numbers)
            return joined([from_json(content, details=details, space=type(space)) for content in contents])

        return _on_all_ranks(read)

    def shards(self) -> Shards:
        """Its tensors, all of whose files were compared."""
        rank, workers, count = dist.get_rank(), dist.get_world_size(), len(self._checkpoint.shards)
        own = range(rank, count, workers)
        compared = of_all_ranks(_on_all_ranks(lambda: [self._compared(number) for number in own]))
        places = {one.number: one.places for one in compared}
        told = {name: values for one in compared for name, values in one.told.items()}
        shards = Shards([places[number] for number in range(count)], told)
        for name, parameter in trained(self._going.engine):
            if shards.sizes.get(f"weight/{name}") != getattr(parameter, "ds_numel", parameter.numel()):
                raise DamagedError(f"it does not have {name}")
        others = sorted(shards.files_with(self._wanted(shards.sizes)) - {*own})

        def keep_others() -> None:
            for number in others:
                self._keep(self._fetched(number), places[number], {})

        _on_all_ranks(keep_others)
        for path in self._kept:
            shards.add(path)
        return shards

    def _compared(self, number: int) -> _Compared:
        """Fetches a shard for all ranks, and keeps what they get from here."""
        path = self._fetched(number)
        places = places_in(path)
        told = values_in(path, filter(is_whole, places))
        self._keep(path, places, {name: places[name][:2] for name in shared(self._going.engine) if name in places})
        return _Compared(number, places, told)

    def _keep(self, path: Path, places: Places, others: Mapping[str, Ends]) -> None:
        """Of a shard, what this rank holds of it, and what `others` do."""
        wants = self._wanted({name: place.size for name, place in places.items()})
        if (kept := cut(path, {**wants, **others})) is not None:
            self._kept.append(kept)

    def _wanted(self, sizes: Mapping[str, int]) -> dict[str, Ends]:
        """What this rank holds of what was stored."""
        found = wanted(self._going.engine, sizes) | self._going.weights.wanted()
        if self._checkpoint.workers == dist.get_world_size():
            own = names_of_random_states()
            found |= {name: (0, size) for name, size in sizes.items() if name in own}
        return found

    def _fetched(self, number: int) -> Path:
        file = self._checkpoint.files[number]
        to = self._scratch / f"{number}-{file.name.rpartition('/')[2]}"
        _fetch(file, self._store, to)
        return to


def _on_all_ranks(action: Callable[[], _Each]) -> _Each:
    """What it does on each; DamagedError, the same on each, where it is raised on any."""
    found, problems = list[_Each](), list[str]()
    try:
        found.append(action())
    except DamagedError as error:
        problems.append(str(error))
    if problems := of_all_ranks(problems):
        raise DamagedError(problems[0])
    return found[0]


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
        restore(going.engine, shards, loop["shapes"])
        if any(name.startswith("best/") for name in shards.sizes):
            going.weights.restore(shards.read)
    restore_counters(going.engine, loop)
    going.watch.restore(loop["watch"])
    going.settled.update(history.settled)
    if checkpoint.workers != dist.get_world_size():
        # Other ranks draw other numbers: those of this step, which no rank has drawn before.
        torch.manual_seed(seed + dist.get_rank() + checkpoint.step)
        return
    restore_random_states(shards)
