"""One run from its job to its verified model: the sequence that `kubetune run` and a cluster's RayJob share."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from tempfile import TemporaryDirectory

import ray

from kubetune_api.run import Run
from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.artifact.publish import claim, commit, preflight, upload_folder
from kubetune_trainer.artifact.published import Published, find_published, read_published
from kubetune_trainer.artifact.tensors import Expectation
from kubetune_trainer.artifact.verify import verify
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.events import Listener
from kubetune_trainer.handoff import WorkerInput, WorkerResult
from kubetune_trainer.model.load import check_vocabulary, load_config, load_tokenizer, longest_sequence
from kubetune_trainer.model.source import PretrainedModel, pretrained_model
from kubetune_trainer.progress import ProgressTeller
from kubetune_trainer.ray_runtime import RecordReader, accelerators, new_record_queue, ray_cluster, run_workers
from kubetune_trainer.records import PretrainedRecord, RunRecord
from kubetune_trainer.report import render_card, render_report, write_metrics
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import task_of
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.optimizer import refuse_endless_warmup
from kubetune_trainer.training.zero import stage_for

_PACKAGES = ("kubetune", "torch", "transformers", "deepspeed", "ray", "obstore")


def execute(run: Run, *, listener: Listener, cache: Path, start_time: str, now: Callable[[], str]) -> Published:
    """Runs the job to its end, or raises the `RunError` that says why it cannot. What was published already is the end.

    `cache` is a folder of this node for fetched models; `now` returns the time as an RFC 3339 string.
    """
    run = run.model_copy(update={"job": run.job.resolved})
    spec = run.job.spec
    listener.stage("Checking the output")
    credentials = StoreCredentials.of(run)
    store = Store.open(run.root, secret=credentials.opening(run.root))
    preflight(store)
    if earlier := find_published(run, store):
        listener.note(f"execution {earlier.execution} has published this run already: nothing is trained again")
        return earlier
    listener.stage("Fetching the model")
    base = pretrained_model(spec.model, cache, credentials=credentials)
    listener.stage("Reading the data")
    data = _read_data(run, base, cache, credentials)
    run = claim(run, store, now())
    listener.claimed(run.claimed)
    listener.stage("Starting the workers")
    with TemporaryDirectory(prefix="kubetune-") as scratch, ray_cluster(run.workers):
        task, workers = _task(run, base, data, cache, listener)
        tell = ProgressTeller(task.plan.total_steps, listener)
        listener.stage(f"Training on {_count(task.plan.rows, 'row')} with {_count(workers, 'worker')}")
        with RecordReader(task.records, tell):
            trained = run_workers(task, workers=workers, gpus=accelerators() > 0, scratch=scratch)
    listener.stage("Verifying the model")
    _verify(store, run, base, trained)
    record = _record(run, task, base, data, trained, start_time=start_time, completion_time=now())
    listener.stage("Publishing")
    return _publish(store, run, record, trained, listener)


def _read_data(run: Run, base: PretrainedModel, cache: Path, credentials: StoreCredentials) -> PreparedData:
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
    return prepare(task_of(spec), spec, files, tokenizer, longest_sequence(config, spec.max_length))


def _task(
    run: Run, base: PretrainedModel, data: PreparedData, cache: Path, listener: Listener
) -> tuple[WorkerInput, int]:
    spec = run.job.spec
    workers = _workers(run, accelerators(), listener)
    plan = BatchPlan(
        rows=data.splits["train"].rows,
        global_batch_size=spec.training.global_batch_size,
        micro_batch_size=spec.training.micro_batch,
        workers=workers,
        epochs=spec.training.epochs,
        max_steps=spec.training.max_steps,
    )
    refuse_endless_warmup(spec.training, plan.total_steps)
    return (
        WorkerInput(
            run=run,
            stage=stage_for(spec.zero.stage, workers),
            plan=plan,
            model_files=base.files,
            cache=str(cache),
            data=ray.put(data),
            records=new_record_queue(),
        ),
        workers,
    )


def _workers(run: Run, gpus: int, listener: Listener) -> int:
    asked = run.workers
    if asked is None:
        return max(1, gpus)
    if 0 < gpus < asked:
        listener.note(
            f"{asked} workers are asked for and {gpus} GPUs are there: {gpus} workers train, to the same result"
        )
        return gpus
    return asked


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _verify(store: Store, run: Run, base: PretrainedModel, trained: WorkerResult) -> None:
    verify(
        store,
        f"{run.folder}/model",
        trained.files,
        Expectation(
            shapes=trained.shapes,
            base=base.folder,
            base_names=trained.base_names,
            frozen=trained.frozen,
            may_be_unchanged=trained.may_be_unchanged,
        ),
        task_of(run.job.spec).model_class(),
    )


def _record(
    run: Run,
    task: WorkerInput,
    base: PretrainedModel,
    data: PreparedData,
    trained: WorkerResult,
    *,
    start_time: str,
    completion_time: str,
) -> RunRecord:
    model = run.job.spec.model
    return RunRecord(
        job=run.job,
        run_id=run.run_id,
        execution=run.claimed,
        workers=task.plan.workers,
        zero_stage=task.stage,
        device=trained.device,
        precision=trained.precision,
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
    )


def _publish(store: Store, run: Run, record: RunRecord, trained: WorkerResult, listener: Listener) -> Published:
    """Uploads what people read, then the manifest, which names it all; where another execution was first, it counts."""
    with TemporaryDirectory(prefix="kubetune-") as scratch:
        here = Path(scratch)
        (here / "report.html").write_text(render_report(record), encoding="utf-8")
        (here / "README.md").write_text(render_card(record, store.uri(f"{run.folder}/model")), encoding="utf-8")
        write_metrics(record, here / "metrics.jsonl")
        files = [*trained.files, *upload_folder(here, store, run.folder)]
    if committed := commit(store, manifest(record, files, folder=run.folder)):
        return read_published(run, store, committed)
    first = find_published(run, store)
    assert first is not None, "a manifest is there and cannot be found"
    listener.note(f"execution {first.execution} published this run first: its model counts")
    return first
