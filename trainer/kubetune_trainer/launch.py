"""What a training starts from and comes to, whatever group of workers does it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from kubetune_api.run import Run
from kubetune_api.status import CheckpointStatus
from kubetune_api.text import plural
from kubetune_planner.encoder_decoder import shape_from_config
from kubetune_planner.shape import ModelShape
from kubetune_trainer.checkpoint.chain import Chain, Found, read_chain, replaced, sweep
from kubetune_trainer.checkpoint.identity import difference, identity_of, refuse_others
from kubetune_trainer.checkpoint.manifest import Checkpoint, Turn
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import Listener
from kubetune_trainer.handoff import Kept, Record, WorkerInput, WorkerResult
from kubetune_trainer.model.source import PretrainedModel
from kubetune_trainer.progress import ProgressTeller
from kubetune_trainer.record_reader import RecordReader
from kubetune_trainer.resolve import Hardware, refuse_missing_gpus, resolve
from kubetune_trainer.stop_request import StopRequest
from kubetune_trainer.storage.configs import CONFIG
from kubetune_trainer.storage.store import Store
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.gpu_driver import old_driver_hides_gpus
from kubetune_trainer.training.schedule import refuse_endless_warmup
from kubetune_trainer.watchdog.hangs import Hangs
from kubetune_trainer.watchdog.watchdog import GiveUp


@dataclass(frozen=True)
class Prepared:
    """What a training starts from."""

    run: Run
    """With the number of its execution."""
    base: PretrainedModel
    data: PreparedData
    max_length: int
    """The longest sequence that job and model allow, in tokens."""
    cache: Path
    give_up: GiveUp
    """What ends the run where its threads cannot."""
    stop: StopRequest = field(default_factory=StopRequest)


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    given: WorkerInput
    result: WorkerResult


Training = Callable[[Prepared, Store, Listener], Trained]


def begun(prepared: Prepared, there: Hardware, listener: Listener) -> tuple[WorkerInput, ProgressTeller]:
    """What every worker is given, but for the handles of Ray, and who tells of its steps; says that it begins."""
    given = _worker_input(prepared, there, listener)
    listener.resolved(given.resolved.settings)
    workers = plural(given.resolved.workers, "worker")
    listener.stage(f"Training on {plural(given.plan.rows, 'row')} with {workers}")
    return given, ProgressTeller(given.plan.total_steps, listener)


def _worker_input(prepared: Prepared, there: Hardware, listener: Listener) -> WorkerInput:
    run, spec = prepared.run, prepared.run.job.spec
    refuse_missing_gpus(run, there)
    if there.gpus == 0 and run.report_to is None and (told := old_driver_hides_gpus()):
        listener.note(f"the training runs on the CPU: {told}")
    resolved, notes = resolve(
        spec,
        workers=run.workers,
        hardware=there,
        shape=_shape(prepared.base.folder),
        max_length=prepared.max_length,
        mean_length=float(prepared.data.splits["train"].lengths.mean()),
    )
    for note in notes:
        listener.note(note)
    plan = BatchPlan(
        rows=prepared.data.splits["train"].rows,
        global_batch_size=spec.training.global_batch_size,
        micro_batch_size=resolved.micro_batch_size,
        longest_rows=resolved.longest_rows,
        workers=resolved.workers,
        epochs=spec.training.epochs,
        max_steps=spec.training.max_steps,
    )
    refuse_endless_warmup(spec.training, plan.total_steps)
    return WorkerInput(
        run=run,
        resolved=resolved,
        on_gpu=there.gpus > 0,
        plan=plan,
        model_files=(prepared.base.files, prepared.base.adapter_files),
        cache=str(prepared.cache),
    )


def hangs_of(run: Run) -> Hangs:
    """When its ranks hang."""
    return Hangs(run.job.spec.training.watchdog.hang_seconds)


def with_checkpoints(prepared: Prepared, given: WorkerInput, store: Store, listener: Listener) -> WorkerInput:
    """With what earlier executions have left, none of which commits anything from now on.

    RunError (INVALID_MANIFEST) where that is of another training.
    """
    run, spec = prepared.run, prepared.run.job.spec
    if spec.training.checkpoints is None and run.claimed == 1:
        return given
    read = partial(read_chain, store, run.run_id)
    if spec.training.checkpoints is not None:
        read = partial(read, most=spec.training.checkpoints.retain)
    found = read()
    if run.claimed > 1 and not (found.checkpoints or found.damaged):
        listener.note("earlier executions of this run have left no checkpoint: the training begins anew")
    if spec.training.checkpoints is None and not found.last:
        return given
    if found.newest > run.claimed:
        raise replaced(run)
    files = (*prepared.base.files, *prepared.base.adapter_files)
    identity = identity_of(spec, given.resolved, files, prepared.data)
    found = _of_this_training(found, identity, run, listener)
    if found.checkpoints:
        listener.checkpoint(CheckpointStatus(step=found.checkpoints[0].step))
    chain = Chain(store, run, found.last)
    chain.begin()
    if chain.last > found.last + 1:
        # An earlier execution, still alive then, has committed another one, and removed what that replaced.
        found = _of_this_training(read(), identity, run, listener)
    if spec.training.checkpoints is not None and not found.damaged:
        # What this version cannot read, another one may: it goes when the model is published.
        swept(store, found.checkpoints, run.claimed, listener)
    _tell_turns(found.turned, listener)
    plan = replace(given.plan, turns=found.turns)
    return replace(given, plan=plan, kept=Kept(chain.last, found.checkpoints, found.damaged, identity))


def _of_this_training(found: Found, identity: dict[str, str], run: Run, listener: Listener) -> Found:
    """What can be gone on from. RunError (INVALID_MANIFEST) where it is of another training, and somebody asked for it;
    else it is told, and nothing."""
    for checkpoint in found.checkpoints[:1]:
        if not run.saves_by_default:
            refuse_others(identity, checkpoint.identity, checkpoint.step)
        elif told := difference(identity, checkpoint.identity, checkpoint.step):
            listener.note(f"{told}: the training begins anew")
            return replace(found, checkpoints=(), damaged=(), turned=())
    return found


def _tell_turns(turns: tuple[Turn, ...], listener: Listener) -> None:
    for turn in turns:
        listener.note(
            f"the loss of step {turn.spike:,} jumped in an earlier execution: behind step {turn.behind:,} the rows that"
            " are left of that epoch are taken in another order"
        )


def reader_of(
    prepared: Prepared,
    take: Callable[[], list[Record] | None],
    *takers: Callable[[list[Record]], None],
    listener: Listener,
    tell_workers: Callable[[], object] = lambda: None,
) -> RecordReader:
    """Hands on what the training reports, and tells the workers when it is to stop."""
    if prepared.run.job.spec.training.checkpoints is None:
        return RecordReader(take, *takers)
    stop = prepared.stop
    return RecordReader(take, *takers, stop.take, meanwhile=partial(stop.look, listener, tell_workers))


def swept(store: Store, kept: tuple[Checkpoint, ...], newest: int, listener: Listener) -> None:
    """Removes what is of no use any more; where that fails, a note says so, and the next execution tries again."""
    try:
        sweep(store, kept, range(1, newest + 1))
    except RunError as error:
        listener.note(f"old checkpoints were not removed: {error.message}")


def _shape(folder: Path) -> ModelShape | None:
    """The model's shape; None where its configuration does not give one, which only leaves nothing to plan with."""
    try:
        return shape_from_config(json.loads((folder / CONFIG).read_bytes()))
    except ValueError:
        return None
