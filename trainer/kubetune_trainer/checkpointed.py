"""The checkpoints of one rank: what it goes on from, and what it saves."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

from kubetune_trainer.checkpoint.resume import resume
from kubetune_trainer.checkpoint.saver import Place, Saver
from kubetune_trainer.handoff import Record, WorkerInput
from kubetune_trainer.records import EvaluationRecord, StepRecord
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks.base import TrainingTask
from kubetune_trainer.training.going import Checkpoints, Going, NoCheckpoints
from kubetune_trainer.underway import Resumption, Spiked


@contextmanager
def checkpoints_of(
    given: WorkerInput,
    task: TrainingTask,
    space: Any,
    records: list[Record],
    tell: Callable[[Record], object],
    stops: Callable[[], bool] = lambda: False,
    executor: Executor | None = None,
) -> Iterator[Checkpoints]:
    """Those of a run, while its block lasts. Earlier records come to `records`, and `tell` hears of them.

    `stops`: whether this rank knows that it is to save and end. `executor` uploads; unset, a thread does.
    """
    kept, run = given.kept, given.run
    if kept is None:
        yield NoCheckpoints()
        return
    store = Store.open(run.root, secret=StoreCredentials.of(run).opening(run.root))
    settings = run.job.spec.training.checkpoints
    place = Place(store, run, given.plan, kept.identity, kept.last, kept.checkpoints)
    saving = Saver(place, settings, records, tell, stops, executor=executor) if settings is not None else nullcontext()
    with saving as saver:
        yield _OfARun(given, store, task, space, records, tell, saver)


@dataclass(frozen=True)
class _OfARun:
    """See `Checkpoints`."""

    given: WorkerInput
    store: Store
    task: TrainingTask
    space: Any
    records: list[Record]
    tell: Callable[[Record], object]
    saver: Saver | None

    def resume(self, going: Going) -> int:
        """See `Checkpoints`."""
        kept = self.given.kept
        assert kept is not None, "there is a chain"
        if not (kept.checkpoints or kept.damaged):
            return 0
        seed = self.given.run.job.spec.training.seed
        found = resume(going, self.store, kept.checkpoints, self.task, self.space, seed)
        if self.saver is not None:
            self.saver.went_on(found.step)
        earlier: list[StepRecord | EvaluationRecord] = [*found.history.steps, *found.history.evaluations]
        # Sorting is stable: a step comes before its evaluation.
        earlier.sort(key=lambda record: record.step)
        self.records.extend(earlier)
        factor = self.given.run.job.spec.training.watchdog.spike_factor
        for record in found.history.steps:
            going.spikes.take(record.loss, factor)
        self.tell(Resumption(found.step, (*kept.damaged, *found.skipped), tuple(earlier)))
        return found.step

    def after(self, step: int, going: Going) -> None:
        """See `Checkpoints`."""
        if self.saver is not None:
            self.saver.after(step, going)

    def roll_back(self, spiked: Spiked, going: Going) -> NoReturn:
        """See `Checkpoints`."""
        assert self.saver is not None, "a job that rolls back has checkpoints"
        self.saver.roll_back(spiked, going)
