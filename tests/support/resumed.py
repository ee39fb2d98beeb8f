"""Trainings that are saved while they go on, and others that go on from what is there."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from kubetune_api.families import FAMILIES
from kubetune_api.job import FineTuneJob, FineTuneJobSpec, ObjectMeta
from kubetune_api.run import MountedSecret, Run
from kubetune_trainer.checkpoint.chain import Chain, read_chain
from kubetune_trainer.checkpoint.resume import resume
from kubetune_trainer.checkpointed import checkpoints_of
from kubetune_trainer.errors import RunError
from kubetune_trainer.handoff import Kept, Record, WorkerInput
from kubetune_trainer.model.load import LoadedModel
from kubetune_trainer.model.stored import tensor_digest
from kubetune_trainer.records import EvaluationRecord, StepRecord, TrainingEnd
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.store import Store
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.going import Going
from kubetune_trainer.training.kept_weights import KeptWeights
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.training.watch import Watch
from kubetune_trainer.underway import NotSaved, Resumption, Saved
from support.stores import Watched
from support.tiny_models import PAD, tiny_tokenizer
from support.training_cases import BATCH, Case

EVERY, SAVED, STEPS = 4, 8, 12
"""A checkpoint is due after so many steps; the last that is committed; the steps of a training."""


class AtOnce(Executor):
    """Does what it is given before it goes on."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Ended:
    """What came of a training, as one rank saw it."""

    losses: dict[int, float]
    """By the step."""
    judged: list[tuple[str, int, dict[str, float]]]
    end: TrainingEnd
    digests: dict[str, str]
    """Of the trained tensors; rank 0 only."""
    resumed: list[Resumption]
    saves: list[Saved | NotSaved]


def save_and_go_on(cases: list[Case], folder: str) -> dict[Case, tuple[Ended, Ended]]:
    """Each training to its end, and another execution from its last checkpoint; every rank calls it."""
    return {
        case: (_train(case, f"{folder}/{number}"), _train(case, f"{folder}/{number}"))
        for number, case in enumerate(cases)
    }


def go_on(cases: list[Case], folder: str) -> dict[Case, Ended]:
    """Each from the checkpoint that another training of that number has left."""
    return {case: _train(case, f"{folder}/{number}") for number, case in enumerate(cases)}


def go_on_in_each(case: Case, folders: list[str]) -> list[Ended]:
    """The same training from the checkpoints of each folder."""
    return [_train(case, folder) for folder in folders]


def replaced_at(case: Case, folder: str, step: int) -> tuple[str, int]:
    """What ends a training that another execution has replaced after that step, and the last step that it did."""
    losses: list[int] = []

    def tell(record: Record, run: Run) -> None:
        if isinstance(record, StepRecord):
            losses.append(record.step)
            if record.step == step:
                store = Store.open(run.root)
                newer = run.model_copy(update={"execution": run.claimed + 1})
                Chain(store, newer, read_chain(store, run.run_id).last).begin()

    try:
        _train(case, folder, tell)
    except RunError as error:
        return error.message, losses[-1]
    return "", losses[-1]


@dataclass(frozen=True)
class Fetched:
    """What one rank read in order to go on."""

    step: int
    skipped: tuple[str, ...]
    names: tuple[str, ...]
    most: int
    """Bytes of it on the disk of this rank at once."""


def what_is_fetched(cases: list[tuple[Case, str]]) -> list[Fetched]:
    """Going on from what other trainings have left in these folders; nothing is trained."""
    return [_fetched(*case) for case in cases]


def _fetched(case: Case, folder: str) -> Fetched:
    spec = _spec(case)
    _, engine = _begun(replace(case, steps=STEPS), spec)
    weights = KeptWeights(engine)
    going = Going(engine, Watch(spec, weights, lambda value: value), weights)
    store = Watched.open(f"{Path(folder).as_uri()}/default/tiny/run-1")
    found = resume(going, store, read_chain(store, "run-1").checkpoints, case.learned.task, case.learned.space, 0)
    engine.destroy()
    return Fetched(found.step, found.skipped, store.fetched, store.most)


def disturbed(case: Case, folder: str, secret: MountedSecret | None, faults: Mapping[int, Callable[[], None]]) -> Ended:
    """A training to its end, in a folder or at a URI; each fault happens behind its step."""

    def tell(record: Record, run: Run) -> None:
        if isinstance(record, StepRecord) and record.step in faults:
            faults[record.step]()

    return _train(case, folder, tell, secret)


def _spec(case: Case) -> FineTuneJobSpec:
    manifest = case.spec.to_dict()
    saved = {"checkpoints": {"everySteps": EVERY, "retain": 2}, "keep": "Best", "dropout": 0.1}
    manifest["training"] |= {"maxSteps": STEPS, **saved}
    evaluation = {"everySteps": 3, "primaryMetric": "validation/loss"}
    return FineTuneJobSpec.model_validate(manifest | {"evaluation": evaluation})


def _given(
    case: Case, spec: FineTuneJobSpec, plan: BatchPlan, folder: str, secret: MountedSecret | None
) -> WorkerInput:
    """As the driver makes it; rank 0 alone touches the store."""
    uri = folder if "://" in folder else Path(folder).as_uri()
    job = FineTuneJob(
        api_version="kubetune.dev/v1alpha1",
        kind="FineTuneJob",
        metadata=ObjectMeta(name="tiny"),
        spec=spec.model_copy(update={"output": spec.output.model_copy(update={"uri": uri})}),
    )
    run = Run(job=job, run_id="run-1", execution=1, credentials=[secret] if secret else [])
    told: list[Any] = [None]
    if dist.get_rank() == 0:
        store = Store.open(run.root, secret=StoreCredentials.of(run).opening(run.root))
        found = read_chain(store, run.run_id)
        run = run.model_copy(update={"execution": 2 if found.last else 1})
        chain = Chain(store, run, found.last)
        chain.begin()
        told = [(run.execution, Kept(chain.last, found.checkpoints, found.damaged, {}))]
    dist.broadcast_object_list(told, src=0)
    execution, kept = told[0]
    return WorkerInput(
        run=run.model_copy(update={"execution": execution}),
        resolved=case.resolved(plan.workers),
        on_gpu=False,
        plan=plan,
        model_files=(),
        cache="",
        kept=kept,
    )


def _begun(case: Case, spec: FineTuneJobSpec) -> tuple[BatchPlan, Any]:
    """The plan of its batches, and its engine."""
    model, workers = case.model, dist.get_world_size()
    plan = BatchPlan(case.rows, BATCH, case.micro, workers, spec.training.epochs, STEPS)
    loaded = LoadedModel(model, FAMILIES[case.family], {}, None, (), Path(), spec.model)
    torch.manual_seed(0)
    case.method.attach(loaded, precision="BF16" if case.bf16 else "FP32", reach=lambda: 1.0)
    engine = build_engine(model, spec.training, plan, case.resolved(workers), Device("cpu"))
    torch.manual_seed(1 + dist.get_rank())
    return plan, engine


def _train(
    case: Case,
    folder: str,
    hear: Callable[[Record, Run], None] = lambda *_: None,
    secret: MountedSecret | None = None,
) -> Ended:
    case = replace(case, steps=STEPS)
    spec, learned = _spec(case), case.learned
    plan, engine = _begun(case, spec)
    records: list[Record] = []
    told: list[Record] = []
    given = _given(case, spec, plan, folder, secret)

    def take(record: Record) -> None:
        records.append(record)
        hear(record, given.run)

    with checkpoints_of(given, learned.task, learned.space, records, told.append, executor=AtOnce()) as checkpoints:
        loop = Loop(
            engine, learned.task, case.splits, learned.space, spec, plan, PAD, take, tiny_tokenizer(),
            checkpoints=checkpoints,
        )  # fmt: skip
        end = loop.run()
    digests = {name: tensor_digest(tensor) for name, tensor in case.method.tensors(engine)}
    engine.destroy()
    return Ended(
        {record.step: record.loss for record in records if isinstance(record, StepRecord)},
        [(one.split, one.step, one.metrics) for one in records if isinstance(one, EvaluationRecord)],
        end,
        digests,
        [record for record in told if isinstance(record, Resumption)],
        [record for record in told if isinstance(record, Saved | NotSaved)],
    )
