"""The chain of a run: `checkpoints/000001.json` and those behind it, each created once by whoever comes first.

An execution that begins adds an entry, and each one that commits a checkpoint adds the next. Who finds another entry
where his should stand has been replaced: what a process that was thought dead still writes, it cannot commit.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.artifact.listing import walk
from kubetune_trainer.checkpoint.manifest import Checkpoint, DamagedError, End, Start, sealed, unsealed
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.store import Store

_FOLDER = "checkpoints"


@dataclass(frozen=True)
class Found:
    """What a chain holds."""

    last: int
    """The number of its last entry; 0 where there is none."""
    checkpoints: tuple[Checkpoint, ...]
    """The newest first."""
    damaged: tuple[str, ...]
    """Why newer ones cannot be used, in sentences."""


def replaced(run: Run) -> RunError:
    """What ends an execution that is no longer the newest."""
    return RunError(
        Reason.INTERRUPTED,
        "another execution of this run has begun, which goes on from its last checkpoint; this one,"
        f" {run.claimed}, ends and publishes nothing",
    )


def read_chain(store: Store, run_id: str) -> Found:
    """All that was committed."""
    names = _entries(store)
    checkpoints, damaged = list[Checkpoint](), list[str]()
    for name in reversed(names):
        try:
            entry = unsealed(store.get(name), run_id)
        except DamagedError as error:
            # Of what is older than one that can be used, nobody needs to hear.
            damaged += [] if checkpoints else [f"{store.uri(name)} cannot be used: {error}"]
        else:
            checkpoints += [entry] if isinstance(entry, Checkpoint) else []
    return Found(_number(names), tuple(checkpoints), tuple(damaged))


class Chain:
    """The end of a chain, as one execution knows it."""

    def __init__(self, store: Store, run: Run, last: int) -> None:
        self._store, self._run, self._last = store, run, last

    @property
    def last(self) -> int:
        """The number of the last entry that it knows."""
        return self._last

    def begin(self) -> None:
        """Adds that this execution begins, behind whatever an earlier one may still commit meanwhile."""
        entry = sealed(Start(run=self._run.run_id, execution=self._run.claimed))
        while not self._append(entry):
            self._last += 1

    def commit(self, checkpoint: Checkpoint) -> bool:
        """Adds a checkpoint, whose files are all there; False where another execution was faster."""
        return self._append(sealed(checkpoint))

    def _append(self, entry: bytes) -> bool:
        if not self._store.create(_entry(self._last + 1), entry):
            return False
        self._last += 1
        return True


def end(store: Store, run: Run) -> None:
    """Says that this execution is about to publish; RunError where another one has begun."""
    names = _entries(store)
    with suppress(DamagedError):
        if names and unsealed(store.get(names[-1]), run.run_id).execution > run.claimed:
            raise replaced(run)
    entry = sealed(End(run=run.run_id, execution=run.claimed))
    if not store.create(_entry(_number(names) + 1), entry):
        raise replaced(run)


def _entries(store: Store) -> list[str]:
    _, objects = store.children(_FOLDER)
    return sorted(one.path for one in objects if one.path.endswith(".json"))


def _entry(number: int) -> str:
    return f"{_FOLDER}/{number:06}.json"


def _number(names: Sequence[str]) -> int:
    """Of the last entry; 0 where there is none."""
    return int(names[-1].rpartition("/")[2].removesuffix(".json")) if names else 0


def folder_of(run: Run, step: int) -> str:
    """Where the files of a checkpoint lie, relative to the run's root."""
    return f"{run.folder}/{_FOLDER}/step-{step:08}"


def sweep(store: Store, run: Run, kept: Iterable[Checkpoint]) -> None:
    """Removes what earlier executions have uploaded and no kept checkpoint names."""
    names = {file.name for checkpoint in kept for file in checkpoint.files}
    for execution in range(1, run.claimed + 1):
        for one in walk(store, f"executions/{execution}/{_FOLDER}"):
            if one.path not in names:
                store.delete(one.path)


def remove(store: Store, checkpoints: Sequence[Checkpoint]) -> None:
    """Removes the files of checkpoints; their entries stay, so that nobody takes their numbers."""
    for checkpoint in checkpoints:
        for file in checkpoint.files:
            store.delete(file.name)
