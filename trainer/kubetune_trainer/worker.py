"""What each worker does: model, engine, loop, and on rank 0 the upload of the trained model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.run import MODEL
from kubetune_trainer.artifact.publish import upload_folder, write_beside
from kubetune_trainer.artifact.room import Writes, refuse_small_disk
from kubetune_trainer.artifact.sharded import Shards
from kubetune_trainer.artifact.verify import check
from kubetune_trainer.checkpointed import checkpoints_of
from kubetune_trainer.comparison import FilesChecked
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.handoff import Record, WorkerInput, WorkerResult
from kubetune_trainer.methods import Trainable, TrainingMethod, method_of
from kubetune_trainer.methods.base import Shapes
from kubetune_trainer.model.load import load_model, load_tokenizer
from kubetune_trainer.model.source import pretrained_model
from kubetune_trainer.records import (
    EvaluationRecord,
    Expectation,
    StepRecord,
    StoredFile,
    TrainingEnd,
    final_metrics,
    latest,
)
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import language_model_class, task_of
from kubetune_trainer.tasks.base import OpenedElsewhere
from kubetune_trainer.tasks.custom_metrics import load_metrics
from kubetune_trainer.training.device import Device, detect
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.exchange import of_all_ranks, of_rank_0
from kubetune_trainer.training.groups import others_awaited
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.training.reference import with_references
from kubetune_trainer.training.requirements import check_requirements, slice_metrics
from kubetune_trainer.training.schedule import sum_of_rates
from kubetune_trainer.watchdog.pulse import GATHERING, LOADING, PULSE, STARTING, UPLOADING, VERIFYING, WAITING


def train(
    given: WorkerInput, data: PreparedData, tell: Callable[[Record], object], stops: Callable[[], bool]
) -> WorkerResult | None:
    """Trains this rank's share, in any group of torch.distributed; calls `tell` with each record. Rank 0 returns the
    result. `stops`: whether this rank knows that the training is to save and end."""
    PULSE.mark(LOADING)
    spec, device = given.run.job.spec, detect(needs_gpu=given.on_gpu)
    task, method = task_of(spec), method_of(spec.method)
    all_have_loaded = others_awaited()
    trainable, tokenizer = _load(given, method, data)
    counts = trainable.parameters
    refuse_small_disk(_writes(given, method, trainable), given.run.scratch_bytes)
    all_have_loaded()
    PULSE.mark(STARTING)
    engine = build_engine(trainable.loaded.model, spec.training, given.plan, given.resolved, device)
    records: list[Record] = []

    def take(record: Record) -> None:
        records.append(record)
        tell(record)

    pad = tokenizer.pad_token_id
    splits = with_references(
        engine, task, data.splits, data.space, plan=given.plan, seed=spec.training.seed, pad_token=pad, tell=tell
    )
    metrics = load_metrics(spec.evaluation.metrics)
    with checkpoints_of(given, task, data.space, records, tell, stops) as checkpoints:
        loop = Loop(engine, task, splits, data.space, spec, given.plan, pad, take, tokenizer, metrics, checkpoints)
        end = loop.run()
        PULSE.mark(WAITING)
    beside = files_beside(spec, trainable.loaded.model.config, data.space, given.resolved.max_length)
    sent = _upload(given, method, trainable, engine, tokenizer, beside)
    if sent is None:
        return None
    # Where this process goes on, its memory is wanted again.
    engine.destroy()
    return _result(given, trainable, device, records, end, counts, sent)


def _writes(given: WorkerInput, method: TrainingMethod, trainable: Trainable) -> Writes:
    spec, resolved = given.run.job.spec, given.resolved
    # What nobody asked for ends no run: it is not saved where there is no room.
    saves = spec.training.checkpoints is not None and not given.run.saves_by_default
    return Writes.of(spec, method, trainable, resolved.precision, resolved.workers, saves=saves)


def files_beside(spec: FineTuneJobSpec, config: Any, space: Any, max_length: int) -> Mapping[str, str]:
    """What other libraries read of the published model. An adapter alone is no model that they open."""
    task = task_of(spec)
    if spec.method.publishes_adapter or not isinstance(task, OpenedElsewhere):
        return {}
    return task.files_beside(config, space, max_length)


def _load(given: WorkerInput, method: TrainingMethod, data: PreparedData) -> tuple[Trainable, Any]:
    """The model, ready for the engine, and its tokenizer."""
    spec = given.run.job.spec
    credentials = StoreCredentials.of(given.run)
    cache, language_model = Path(given.cache), language_model_class()
    folder = pretrained_model(spec.model, cache, language_model, given.model_files, credentials).folder
    tokenizer = load_tokenizer(folder, spec.task.languages)
    # The same seed everywhere: the new head must start from the same weights on every rank.
    torch.manual_seed(spec.training.seed)
    precision = given.resolved.precision
    loaded = load_model(folder, spec, task_of(spec), data.space, tokenizer, dtype=method.loads_as(precision))
    reach = partial(sum_of_rates, spec.training, given.plan.total_steps)
    trainable = method.attach(loaded, precision=precision, reach=reach)
    if spec.training.optimizer.row.equal_steps:
        trainable = replace(trainable, may_be_unchanged=trainable.may_be_unchanged | _trained_vectors(trainable))
    torch.manual_seed(spec.training.seed + dist.get_rank())
    return trainable, tokenizer


def _trained_vectors(trainable: Trainable) -> frozenset[str]:
    """The few numbers of a bias may all have come back to where they began; those of a matrix do not."""
    parameters = trainable.loaded.model.named_parameters()
    return frozenset(name for name, parameter in parameters if parameter.requires_grad and parameter.ndim == 1)


@dataclass(frozen=True)
class _Sent:
    """The model in the store."""

    expected: Expectation
    """What must be found there."""
    files: tuple[StoredFile, ...]
    checked: tuple[FilesChecked, ...] = ()
    """Those that the ranks have verified."""


def _upload(
    given: WorkerInput,
    method: TrainingMethod,
    trainable: Trainable,
    engine: Any,
    tokenizer: Any,
    beside: Mapping[str, str],
) -> _Sent | None:
    """Writes the model in Hugging Face format to the store; rank 0 tells of it. Every rank calls it."""
    PULSE.mark(GATHERING)
    root = given.run.root
    to = Store.open(root, secret=StoreCredentials.of(given.run).opening(root)), f"{given.run.folder}/{MODEL}"
    shards = Shards.of(method.as_stored(engine.module))
    sent = _upload_shards(method, trainable, shards, beside, to) if len(shards.files) > 1 else None
    tensors = () if sent else method.tensors(engine)
    if dist.get_rank() != 0:
        # Every rank has its part in each tensor that is put together.
        for _ in tensors:
            pass
        return None
    with TemporaryDirectory(prefix="kubetune-") as scratch:
        folder = Path(scratch)
        if sent:
            trainable.loaded.save(folder, {})
            shards.write_index(folder)
        else:
            shapes = method.write(trainable, tensors, folder)
            sent = _Sent(_expected(method, trainable, shapes, beside), ())
        tokenizer.save_pretrained(scratch)
        write_beside(folder, beside)
        PULSE.mark(UPLOADING)
        return replace(sent, files=(*sent.files, *upload_folder(folder, *to)))


def _upload_shards(
    method: TrainingMethod, trainable: Trainable, shards: Shards, beside: Mapping[str, str], to: tuple[Store, str]
) -> _Sent:
    """Each rank uploads some of them and verifies those of the next one; one alone leaves that to the driver."""
    files = of_all_ranks(shards.upload(*to))
    expected = of_rank_0(lambda: _expected(method, trainable, shards.shapes, beside))
    if dist.get_world_size() == 1:
        return _Sent(expected, tuple(files))
    PULSE.mark(VERIFYING)
    store, folder = to
    names = shards.of_rank((dist.get_rank() + 1) % dist.get_world_size())
    others = [file for file in files if file.name.removeprefix(f"{folder}/") in names]
    checked = of_all_ranks([check(store, others, expected, trainable.loaded.folder)])
    return _Sent(expected, tuple(files), tuple(checked))


def _expected(method: TrainingMethod, trainable: Trainable, shapes: Shapes, beside: Mapping[str, str]) -> Expectation:
    return replace(method.expectation(trainable, shapes), beside=frozenset(beside))


def _result(
    given: WorkerInput,
    trainable: Trainable,
    device: Device,
    records: list[Record],
    end: TrainingEnd,
    counts: tuple[int, int],
    sent: _Sent,
) -> WorkerResult:
    evaluations = latest(record for record in records if isinstance(record, EvaluationRecord))
    return WorkerResult(
        family=trainable.loaded.model.config.model_type,
        device=torch.cuda.get_device_name() if device.kind == "cuda" else "cpu",
        expected=sent.expected,
        parameters=counts[0],
        trained_parameters=counts[1],
        steps=tuple(record for record in records if isinstance(record, StepRecord)),
        evaluations=evaluations,
        end=end,
        requirements=check_requirements(
            given.run.job.spec.evaluation.require,
            final_metrics(evaluations, end.kept_step) | slice_metrics(evaluations, end.kept_step),
        ),
        files=sent.files,
        checked=sent.checked,
    )
