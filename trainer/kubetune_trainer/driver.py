"""One run from its job to its verified model: the sequence that `kubetune run` and a cluster's RayJob share."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from tempfile import TemporaryDirectory
from typing import Any

import ray

from kubetune_api.run import Run
from kubetune_planner.shape import ModelShape
from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.artifact.publish import claim, commit, preflight, refuse_nested, upload_folder
from kubetune_trainer.artifact.published import Published, find_published, read_published
from kubetune_trainer.artifact.rehearsal import rehearse
from kubetune_trainer.artifact.stopping import StopCheck
from kubetune_trainer.artifact.verify import verify
from kubetune_trainer.data.counts import counts_of
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.events import Listener
from kubetune_trainer.handoff import WorkerInput, WorkerResult
from kubetune_trainer.journal import Journal, journaled
from kubetune_trainer.model.load import check_vocabulary, load_config, load_tokenizer, longest_sequence
from kubetune_trainer.model.source import PretrainedModel, pretrained_model
from kubetune_trainer.progress import ProgressTeller
from kubetune_trainer.ray_runtime import RecordReader, hardware, new_record_queue, ray_cluster, run_workers
from kubetune_trainer.records import PretrainedRecord, RunRecord, StoredFile
from kubetune_trainer.report import render_card, render_report, write_metrics
from kubetune_trainer.resolve import Hardware, resolve
from kubetune_trainer.storage.configs import CONFIG
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import language_model_class, task_of
from kubetune_trainer.text import plural
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.optimizer import refuse_endless_warmup
from kubetune_trainer.worker_entry import train

_PACKAGES = ("kubetune", "torch", "transformers", "deepspeed", "ray", "obstore")


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


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    given: WorkerInput
    result: WorkerResult


Training = Callable[[Prepared, Store, Listener], Trained]


def train_on_ray(prepared: Prepared, store: Store, listener: Listener) -> Trained:
    """Trains on a Ray cluster: that which is there, or one on this machine."""
    with TemporaryDirectory(prefix="kubetune-") as scratch, ray_cluster(prepared.run.workers):
        given = worker_input(prepared, hardware(), listener)
        given = replace(given, data=ray.put(prepared.data), records=new_record_queue())
        tell = ProgressTeller(given.plan.total_steps, listener)
        workers = plural(given.resolved.workers, "worker")
        listener.stage(f"Training on {plural(given.plan.rows, 'row')} with {workers}")

        def work(journal: Journal) -> WorkerResult:
            with RecordReader(given.records, tell, journal):
                return run_workers(train, given, scratch=scratch)

        return Trained(given, journaled(store, prepared.run.folder, listener, work))


def execute(
    run: Run,
    *,
    listener: Listener,
    cache: Path,
    start_time: str,
    now: Callable[[], str],
    training: Training = train_on_ray,
) -> Published:
    """Runs the job to its end, or raises the `RunError` that says why it cannot. What was published already is the end.

    `cache` is a folder of this node for fetched models; `now` returns the time as an RFC 3339 string.
    """
    run = run.model_copy(update={"job": run.job.resolved})
    spec = run.job.spec
    listener.stage("Checking the output")
    credentials = StoreCredentials.of(run)
    opened = partial(Store.open, secret=credentials.opening(run.root))
    store = opened(run.root)
    preflight(store)
    refuse_nested(run, opened)
    if earlier := find_published(run, store):
        listener.note(f"execution {earlier.execution} has published this run already: nothing is trained again")
        return earlier
    listener.stage("Fetching the model")
    base = pretrained_model(spec.model, cache, language_model_class(), credentials=credentials)
    data, max_length, tokenizer = _read_data(run, base, cache, credentials, listener)
    for note in rehearse(base.folder, spec, task_of(spec), data.space, tokenizer):
        listener.note(note)
    run = claim(run, store, now())
    listener.claimed(run.claimed)
    listener.stage("Starting the workers")
    trained = training(Prepared(run, base, data, max_length, cache), store, listener)
    given, result = trained.given, trained.result
    notes = _verify(store, run, base, data, tokenizer, result, listener)
    record = _record(run, given, base, data, result, notes, start_time=start_time, completion_time=now())
    listener.stage("Publishing")
    return _publish(store, run, record, result.files, listener)


def _read_data(
    run: Run, base: PretrainedModel, cache: Path, credentials: StoreCredentials, listener: Listener
) -> tuple[PreparedData, int, Any]:
    """The rows, encoded; the longest sequence that job and model allow, in tokens; and the tokenizer."""
    listener.stage("Reading the data")
    spec = run.job.spec
    dataset = spec.dataset
    config, tokenizer = load_config(base.folder, spec), load_tokenizer(base.folder)
    check_vocabulary(config, tokenizer)
    sources = {"train": dataset, "validation": dataset.validation, "test": dataset.test}
    files = {
        name: fetch_dataset(source.uri, source.revision, cache, credentials)
        for name, source in sources.items()
        if source is not None
    }
    max_length = longest_sequence(config, spec.max_length)
    data = prepare(task_of(spec), spec, files, tokenizer, max_length)
    listener.data(counts_of(data.report), data.report.samples)
    for note in data.report.notes:
        listener.note(note)
    return data, max_length, tokenizer


def _verify(
    store: Store,
    run: Run,
    base: PretrainedModel,
    data: PreparedData,
    tokenizer: Any,
    trained: WorkerResult,
    listener: Listener,
) -> tuple[str, ...]:
    """What the author of the job should know of the verified model."""
    listener.stage("Verifying the model")
    task = task_of(run.job.spec)
    generation = task.generation
    stopping = StopCheck(generation.answers(data.splits["train"], tokenizer) if generation else ())
    model = f"{run.folder}/model"
    verify(store, model, trained.files, trained.expected, base.folder, task.model_class(), stopping)
    if stopping.note is None:
        return ()
    listener.note(stopping.note)
    return (stopping.note,)


def worker_input(prepared: Prepared, there: Hardware, listener: Listener) -> WorkerInput:
    """What every worker is given, but for the handles of Ray."""
    run, spec = prepared.run, prepared.run.job.spec
    resolved, notes = resolve(
        spec,
        workers=run.workers,
        hardware=there,
        shape=_shape(prepared.base.folder),
        max_length=prepared.max_length,
    )
    for note in notes:
        listener.note(note)
    plan = BatchPlan(
        rows=prepared.data.splits["train"].rows,
        global_batch_size=spec.training.global_batch_size,
        micro_batch_size=resolved.micro_batch_size,
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
        model_files=prepared.base.files,
        cache=str(prepared.cache),
    )


def _shape(folder: Path) -> ModelShape | None:
    """The model's shape; None where its configuration does not give one, which only leaves nothing to plan with."""
    try:
        return ModelShape.from_config(json.loads((folder / CONFIG).read_bytes()))
    except ValueError:
        return None


def _record(
    run: Run,
    given: WorkerInput,
    base: PretrainedModel,
    data: PreparedData,
    trained: WorkerResult,
    notes: tuple[str, ...],
    *,
    start_time: str,
    completion_time: str,
) -> RunRecord:
    model = run.job.spec.model
    return RunRecord(
        job=run.job,
        run_id=run.run_id,
        execution=run.claimed,
        resolved=given.resolved,
        device=trained.device,
        start_time=start_time,
        completion_time=completion_time,
        base=PretrainedRecord(
            uri=model.uri,
            revision=model.revision,
            family=trained.family,
            files=base.files,
            parameters=trained.parameters,
            trained_parameters=trained.trained_parameters,
        ),
        data=data.report,
        steps=trained.steps,
        evaluations=trained.evaluations,
        requirements=trained.requirements,
        versions={"python": python_version()} | {package: version(package) for package in _PACKAGES},
        notes=notes,
    )


def _publish(
    store: Store, run: Run, record: RunRecord, uploaded: Sequence[StoredFile], listener: Listener
) -> Published:
    """Uploads what people read, then the manifest, which names it all; where another execution was first, it counts."""
    with TemporaryDirectory(prefix="kubetune-") as scratch:
        here = Path(scratch)
        (here / "report.html").write_text(render_report(record), encoding="utf-8")
        (here / "README.md").write_text(render_card(record, store.uri(f"{run.folder}/model")), encoding="utf-8")
        write_metrics(record, here / "metrics.jsonl")
        files = [*uploaded, *upload_folder(here, store, run.folder)]
    if committed := commit(store, manifest(record, files, folder=run.folder)):
        return read_published(run, store, committed)
    first = find_published(run, store)
    assert first is not None, "a manifest is there and cannot be found"
    listener.note(f"execution {first.execution} published this run first: its model is the result")
    return first
