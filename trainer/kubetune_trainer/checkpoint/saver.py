"""Saves a training while it goes on: it waits for a copy in main memory, and for nothing else.

A thread of each rank writes the copy to the store. Behind a later step the ranks tell each other that theirs is there,
and rank 0 commits: what was not committed does not count.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from threading import Event
from time import monotonic
from typing import Any, Literal, NoReturn, Self

import torch
import torch.distributed as dist

from kubetune_api.job import Checkpoints as Settings
from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_api.times import timestamp
from kubetune_trainer.artifact.free_memory import free_memory
from kubetune_trainer.checkpoint.chain import Chain, folder_of, remove, replaced, rolled_back, stopped, withdraw
from kubetune_trainer.checkpoint.history import History
from kubetune_trainer.checkpoint.interval import Interval
from kubetune_trainer.checkpoint.manifest import Checkpoint, Turn, named
from kubetune_trainer.checkpoint.pace import Pace
from kubetune_trainer.checkpoint.random_states import random_states
from kubetune_trainer.checkpoint.recorded import Recorded
from kubetune_trainer.checkpoint.uploading import Uploaded, discard, lack_for_copies, upload, why
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StepRecord
from kubetune_trainer.storage.store import Store
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.engine_state import Range, counters_of, shapes_of, state_of
from kubetune_trainer.training.exchange import of_all_ranks, of_rank_0, sum_over_ranks
from kubetune_trainer.training.going import Going
from kubetune_trainer.underway import NotSaved, Saved, Spiked
from kubetune_trainer.watchdog.pulse import PULSE, SAVING, WAITING

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where checkpoints go, and what each says of its run."""

    store: Store
    run: Run
    plan: BatchPlan
    identity: dict[str, str]
    last: int
    """The number of the last entry of the chain."""
    committed: tuple[Checkpoint, ...]
    """Those of earlier executions, the newest first."""


class Saver:
    """Saves behind the steps that are due. Its block ends with the training; what is not committed then never is."""

    def __init__(
        self,
        place: Place,
        settings: Settings,
        records: Sequence[object],
        tell: Callable[[Saved | NotSaved], object] = lambda _: None,
        stops: Callable[[], bool] = lambda: False,
        *,
        executor: Executor | None = None,
        now: Callable[[], float] = monotonic,
        free: Callable[[], int] = free_memory,
    ) -> None:
        self._place, self._settings, self._records = place, settings, records
        self._tell, self._stops = tell, stops
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._now, self._free, self._rank = now, free, dist.get_rank()
        self._interval = Interval(settings, place.run.mean_seconds_between_interruptions, now)
        self._pace = Pace(now)
        self._recorded = Recorded(records)
        self._chain = Chain(place.store, place.run, place.last)
        self._committed = list(place.committed)
        self._phase: Literal["", "upload", "commit"] = ""
        """The same on every rank."""
        self._work: Future[Any] | None = None
        """What this rank does for it."""
        self._step, self._wanted = 0, False
        self._given_up, self._failure = Event(), ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        # What is not all there now never is. Of an error, everybody is to hear at once.
        self._given_up.set()
        self._executor.shutdown(wait=error is None, cancel_futures=True)

    def went_on(self, step: int) -> None:
        """The training goes on behind that step: what was committed later cannot be used."""
        self._committed = [one for one in self._committed if one.step <= step]

    def after(self, step: int, going: Going) -> None:
        """See `Checkpoints`. RunError, alike on every rank, where another execution has begun, and where the training
        is to stop: then this step is saved.
        """
        self._wanted = self._wanted or self._interval.ends_with(step)
        due = self._pace.comes() and self._asked(step, going)
        if (self._wanted or due) and not self._phase:
            self._begin(step, going)

    def _asked(self, step: int, going: Going) -> bool:
        """Goes on as all ranks have told; whether the time has come for the next one."""
        waiting, failed, stale, due, stops = self._told(going.engine.device)
        if stale:
            raise self._replaced()
        if stops:
            self._stop(step, going)
        if self._phase and not waiting:
            self._go_on(step, failed=failed)
            self._pace.hurry()
        return due

    def _stop(self, step: int, going: Going) -> NoReturn:
        """Saves this step, and ends the training with a sentence, alike on every rank."""
        # Half an upload of an earlier step is worth less than the time that the rest of it takes.
        self._given_up.set()
        self._finish(step, going)
        self._given_up.clear()
        self._begin(step, going)
        self._finish(step, going)
        raise stopped(step, of_rank_0(self._last_step), self._failure)

    def _last_step(self) -> int:
        """On rank 0: that of the last checkpoint; 0 where there is none."""
        return self._committed[0].step if self._committed else 0

    def roll_back(self, spiked: Spiked, going: Going) -> NoReturn:
        """Ends the training, alike on every rank, once the chain says that whoever goes on takes other rows."""
        self._finish(spiked.step, going)
        behind, failure = of_rank_0(partial(self._turn, spiked.step))
        if failure:
            raise RunError(Reason.STORAGE_FAILED, failure)
        raise rolled_back(spiked.sentence, behind)

    def _turn(self, step: int) -> tuple[int, str]:
        """On rank 0: behind which step, and why it could not be said."""
        behind, run = self._last_step(), self._place.run
        try:
            said = self._chain.commit(Turn(run=run.run_id, execution=run.claimed, spike=step, behind=behind))
        except RunError as error:
            return behind, error.message
        return behind, "" if said else replaced(run).message

    def _finish(self, step: int, going: Going) -> None:
        """Waits for what is under way, if it is, until it is committed or has failed."""
        while self._phase:
            PULSE.mark(WAITING)
            if self._work is not None:
                wait([self._work])
            _, failed, stale, *_ = self._told(going.engine.device)
            if stale:
                raise self._replaced()
            self._go_on(step, failed=failed)

    def _replaced(self) -> RunError:
        if self._rank == 0:
            withdraw(self._place.store, self._place.run)
        return replaced(self._place.run)

    def _told(self, device: Any) -> tuple[bool, bool, bool, bool, bool]:
        """Of any rank: it is not done, it has failed, it was replaced, the time has come, it is to stop."""
        done = self._work is None or self._work.done()
        failed = self._work is not None and done and self._work.exception() is not None
        stale = self._phase == "commit" and self._work is not None and done and not failed and not self._work.result()
        due = self._rank == 0 and self._interval.is_over
        between = self._pace.measured() if self._rank == 0 else 0
        flags = [not done, failed, stale, due, self._stops()]
        own = torch.tensor([*flags, between], dtype=torch.int32, device=device)
        *sums, between = sum_over_ranks({"flags": own})["flags"].tolist()
        self._pace.take(int(between))
        waiting, failed, stale, due, stops = map(bool, sums)
        return waiting, failed, stale, due, stops

    def _begin(self, step: int, going: Going) -> None:
        PULSE.mark(SAVING)
        started = self._now()
        held = {**state_of(going.engine), **going.weights.held()}
        # Before any rank copies: what the others have taken would count twice.
        lacks = of_all_ranks(lack_for_copies(held, self._free(), self._place.run.scratch_bytes))
        told = (self._recorded.take(), self._history(going)) if self._rank == 0 else None
        self._phase, self._step, self._wanted = "upload", step, False
        self._interval.begun(step)
        self._pace.hurry()
        if lacks:
            self._work = Future()
            self._work.set_exception(RunError(Reason.STORAGE_FAILED, lacks[0]))
            return
        copies = {name: replace(one, values=one.values.to("cpu", copy=True)) for name, one in held.items()}
        copies |= random_states()
        self._work = self._executor.submit(self._upload, step, copies, told, self._now() - started)

    def _steps(self) -> tuple[StepRecord, ...]:
        return tuple(record for record in self._records if isinstance(record, StepRecord))

    def _history(self, going: Going) -> History:
        loop = {**counters_of(going.engine), "watch": going.watch.state(), "shapes": shapes_of(going.engine)}
        return History((), (), loop, dict(going.settled))

    def _upload(
        self, step: int, copies: dict[str, Range], told: tuple[History, History] | None, stalled: float
    ) -> Uploaded:
        """In the thread: the files of this rank."""
        folder, started = folder_of(self._place.run, step), self._now()
        files = upload(self._place.store, folder, self._rank, copies, told, self._given_up.is_set)
        return Uploaded(files, stalled, self._now() - started)

    def _go_on(self, step: int, *, failed: bool) -> None:
        """All ranks have done their part."""
        work, self._work = self._work, None
        if failed:
            phase, self._phase = self._phase, ""
            if self._given_up.is_set():
                return
            # What a commit that failed has written, nobody knows.
            if phase == "upload" and work is not None and work.exception() is None:
                self._executor.submit(discard, self._place.store, work.result().files)
            self._failure, *_ = of_all_ranks(self._errors(work))
            self._interval.failed(step)
            self._tell(NotSaved(self._step, self._failure))
        elif self._phase == "commit":
            self._phase = ""
        else:
            assert work is not None, "every rank uploads"
            uploaded = of_all_ranks([work.result()])
            self._phase = "commit"
            if self._rank == 0:
                self._work = self._executor.submit(self._commit, self._step, uploaded)

    def _errors(self, work: Future[Any] | None) -> list[str]:
        """Why this rank could not do its part, for people; nothing where it could."""
        error = work.exception() if work is not None else None
        if error is None:
            return []
        _log.warning("The checkpoint of step %d was not saved", self._step, exc_info=error)
        return [why(error)]

    def _commit(self, step: int, uploaded: Sequence[Uploaded]) -> bool:
        """In the thread of rank 0: whether it is committed; then what it replaces is removed."""
        place, files = self._place, [one.files for one in uploaded]
        _, recorded, history = files[0]
        epochs, batches = divmod(step, place.plan.steps_per_epoch)
        checkpoint = Checkpoint.model_validate(
            {
                "run": place.run.run_id,
                "execution": place.run.claimed,
                "step": step,
                "epoch": epochs,
                "rowsSeen": min(batches * place.plan.global_batch_size, place.plan.rows),
                "workers": len(files),
                "shards": [named(shard) for shard, *_ in files],
                "history": named(history),
                "records": [named(file) for file in self._recorded.files_with(recorded)],
                "identity": place.identity,
                "turns": place.plan.turns,
            }
        )
        if not self._chain.commit(checkpoint):
            return False
        self._recorded.committed(recorded)
        self._tell(self._saved(checkpoint, uploaded))
        self._committed.insert(0, checkpoint)
        old = self._committed[self._settings.retain :]
        del self._committed[self._settings.retain :]
        try:
            remove(place.store, old, self._committed)
        except RunError as error:
            _log.warning("An old checkpoint was not removed: %s", error)
        return True

    def _saved(self, checkpoint: Checkpoint, uploaded: Sequence[Uploaded]) -> Saved:
        stalled = max(one.stall_seconds for one in uploaded)
        self._interval.committed(stalled, self._steps())
        return Saved(
            checkpoint.step,
            timestamp(datetime.now(UTC)),
            sum(file.size for file in checkpoint.files),
            stalled,
            max(one.upload_seconds for one in uploaded),
            self._interval.seconds,
        )
