"""The chain of a run: `checkpoints/000001.json` and those behind it, each created once by whoever comes first.

An execution that begins adds an entry, and each one that commits a checkpoint adds the next. Who finds another entry
where his should stand has been replaced: what a process that was thought dead still writes, it cannot commit.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.artifact.listing import walk
from kubetune_trainer.checkpoint.manifest import (
    Checkpoint,
    DamagedError,
    End,
    Entry,
    Start,
    Turn,
    sealed,
    unsealed,
)
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.store import MissingObjectError, Store

_log = logging.getLogger(__name__)
_FOLDER = "checkpoints"
_ENTRY = re.compile(rf"{_FOLDER}/\d{{6,}}\.json")


@dataclass(frozen=True)
class Found:
    """What a chain holds."""

    last: int
    """The number of its last entry; 0 where there is none."""
    newest: int
    """The execution that added the last entry that can be read; 0 where there is none."""
    checkpoints: tuple[Checkpoint, ...]
    """The newest first."""
    damaged: tuple[str, ...]
    """Why newer ones cannot be used, in sentences."""
    turned: tuple[Turn, ...] = ()
    """Since the newest of the checkpoints, in their order."""

    @property
    def turns(self) -> tuple[int, ...]:
        """All of the run, each by the step behind which it was."""
        before = self.checkpoints[0].turns if self.checkpoints else ()
        return (*before, *(turn.behind for turn in self.turned))


def replaced(run: Run) -> RunError:
    """What ends an execution that is no longer the newest."""
    return RunError(
        Reason.INTERRUPTED,
        "another execution of this run has begun, which goes on from its last checkpoint; this one,"
        f" {run.claimed}, ends and publishes nothing",
    )


def stopped(step: int, saved: int, failure: str = "") -> RunError:
    """What ends an execution that was told to stop behind a step, with its last checkpoint at `saved`; 0: none.

    `failure`: why that of the step could not be saved.
    """
    said = f"the training was told to stop, and did so behind step {step:,}"
    if saved == step:
        return RunError(Reason.INTERRUPTED, f"{said}, which is saved; the next attempt goes on from there")
    goes_on = f"goes on from step {saved:,}" if saved else "begins anew"
    why = f"the next attempt {goes_on}, as that step could not be saved: {failure}"
    return RunError(Reason.INTERRUPTED, f"{said}; {why}")


def rolled_back(why: str, behind: int) -> RunError:
    """What ends an execution whose loss jumped, with its last checkpoint at `behind`; 0: none."""
    goes_on = (
        f"goes on from step {behind:,}, and takes the rest of that epoch" if behind else "begins anew, with its rows"
    )
    return RunError(Reason.ROLLED_BACK, f"{why}; the next attempt {goes_on} in another order")


def read_chain(store: Store, run_id: str, most: int = 100) -> Found:
    """The newest checkpoints that were committed, `most` of them."""
    names = _entries(store)
    checkpoints, damaged, turned, newest = list[Checkpoint](), list[str](), list[Turn](), 0
    for name in reversed(names):
        try:
            entry = _read(store, name, run_id)
        except DamagedError as error:
            # Of what is older than one that can be used, nobody needs to hear.
            damaged += [] if checkpoints else [f"{store.uri(name)} cannot be used: {error}"]
            continue
        newest = newest or entry.execution
        turned += [entry] if isinstance(entry, Turn) and not checkpoints else []
        checkpoints += [entry] if isinstance(entry, Checkpoint) else []
        if len(checkpoints) == most:
            break
    return Found(
        _number(names[-1]) if names else 0, newest, tuple(checkpoints), tuple(damaged), tuple(reversed(turned))
    )


class Chain:
    """The end of a chain, as one execution knows it."""

    def __init__(self, store: Store, run: Run, last: int) -> None:
        self._store, self._run, self._last = store, run, last

    @property
    def last(self) -> int:
        """The number of the last entry that it knows."""
        return self._last

    def begin(self) -> None:
        """Adds that this execution begins, behind whatever an earlier one may still commit meanwhile; RunError where a
        later one has begun."""
        if not self._append(Start(run=self._run.run_id, execution=self._run.claimed)):
            raise replaced(self._run)

    def commit(self, entry: Checkpoint | Turn) -> bool:
        """Adds a checkpoint, whose files are all there, or a turn; False where a later execution has begun."""
        return self._append(entry)

    def end(self) -> None:
        """Adds that this execution is about to publish; RunError where a later one has begun."""
        if not self._append(End(run=self._run.run_id, execution=self._run.claimed)):
            raise replaced(self._run)

    def _append(self, entry: Entry) -> bool:
        while not self._store.create(_entry(self._last + 1), sealed(entry)):
            if self._is_over(self._next(), entry):
                return False
            # An earlier execution's, or one of our own whose answer was lost.
            self._last += 1
        self._last += 1
        return True

    def _is_over(self, there: Entry | None, entry: Entry) -> bool:
        """Whether this execution may add nothing any more, for what stands in the place of the entry."""
        if there is None or there.execution < self._run.claimed:
            return False
        return there.execution > self._run.claimed or (isinstance(there, End) and not isinstance(entry, End))

    def _next(self) -> Entry | None:
        """The entry behind the last one that is known; None for one that nobody can read."""
        name = _entry(self._last + 1)
        try:
            return _read(self._store, name, self._run.run_id)
        except DamagedError:
            if name in _entries(self._store):
                return None
            raise RunError(
                Reason.STORAGE_FAILED, f"{self._store.uri(name)} was not written, as others are being written there"
            ) from None


def end(store: Store, run: Run) -> None:
    """Says that this execution is about to publish; RunError where a later one has begun, and then nothing is left of
    what this one has uploaded for nobody."""
    found = read_chain(store, run.run_id, most=1)
    try:
        if found.newest > run.claimed:
            raise replaced(run)
        Chain(store, run, found.last).end()
    except RunError as error:
        if error.reason == Reason.INTERRUPTED:
            withdraw(store, run)
        raise


def _read(store: Store, name: str, run_id: str) -> Entry:
    try:
        return unsealed(store.get(name), run_id)
    except MissingObjectError:
        raise DamagedError("it is missing") from None


def _entries(store: Store) -> list[str]:
    """Their names, in their order."""
    _, objects = store.children(_FOLDER)
    return sorted((one.path for one in objects if _ENTRY.fullmatch(one.path)), key=_number)


def _entry(number: int) -> str:
    return f"{_FOLDER}/{number:06}.json"


def _number(name: str) -> int:
    return int(name.rpartition("/")[2].removesuffix(".json"))


def folder_of(run: Run, step: int) -> str:
    """Where the files of a checkpoint lie, relative to the run's root."""
    return f"{run.folder}/{_FOLDER}/step-{step:08}"


def sweep(store: Store, kept: Iterable[Checkpoint], executions: Iterable[int]) -> None:
    """Removes what these executions have uploaded and no kept checkpoint names."""
    names = {file.name for checkpoint in kept for file in checkpoint.files}
    for execution in executions:
        for one in walk(store, f"executions/{execution}/{_FOLDER}"):
            if one.path not in names:
                store.delete(one.path)


def withdraw(store: Store, run: Run) -> None:
    """Removes what an execution that was replaced has uploaded for nobody: whoever replaced it may have ended."""
    try:
        # Its last entry may be there although the store's answer was lost.
        sweep(store, read_chain(store, run.run_id).checkpoints, [run.claimed])
    except RunError as error:
        _log.warning("What was uploaded for nobody is left: %s", error)


def remove(store: Store, checkpoints: Iterable[Checkpoint], kept: Iterable[Checkpoint] = ()) -> None:
    """Removes the files of checkpoints, but for those that a kept one names as well; their entries stay, so that nobody
    takes their numbers."""
    names = {file.name for checkpoint in kept for file in checkpoint.files}
    for file in (file for checkpoint in checkpoints for file in checkpoint.files):
        if file.name not in names:
            store.delete(file.name)
            names.add(file.name)
