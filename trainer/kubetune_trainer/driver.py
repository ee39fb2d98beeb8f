"""One run from its job to its verified model: the sequence that `kubetune run` and a cluster's RayJob share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from kubetune_api.run import MODEL, Run
from kubetune_trainer.alone import train_alone, trains_alone
from kubetune_trainer.artifact.attested import attested, signing_key
from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.artifact.publish import (
    claim,
    commit,
    preflight,
    refuse_nested,
    refuse_unknown,
    upload_folder,
    write_beside,
)
from kubetune_trainer.artifact.published import Published, find_published, read_published
from kubetune_trainer.artifact.rehearsal import rehearse
from kubetune_trainer.artifact.stopping import StopCheck
from kubetune_trainer.artifact.verify import verify
from kubetune_trainer.checkpoint.chain import end
from kubetune_trainer.data.counts import counts_of
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.data.samples import errors_of
from kubetune_trainer.events import Listener
from kubetune_trainer.handoff import WorkerInput, WorkerResult
from kubetune_trainer.imports import uncollected
from kubetune_trainer.launch import Prepared, Training, swept
from kubetune_trainer.methods import going_on
from kubetune_trainer.model.languages import refuse_languages
from kubetune_trainer.model.load import check_vocabulary, load_config, load_tokenizer, longest_sequence
from kubetune_trainer.model.source import PretrainedModel, pretrained_model
from kubetune_trainer.records import PretrainedRecord, RunRecord, StoredFile
from kubetune_trainer.report import render_card, render_report, write_metrics
from kubetune_trainer.report.findings import doubts, headline
from kubetune_trainer.stop_request import StopRequest
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import language_model_class, task_of
from kubetune_trainer.tasks.custom_metrics import load_metrics, try_out
from kubetune_trainer.watchdog.watchdog import GiveUp

_PACKAGES = ("kubetune", "torch", "transformers", "deepspeed", "ray", "obstore")


def execute(
    run: Run,
    *,
    listener: Listener,
    cache: Path,
    start_time: str,
    now: Callable[[], str],
    give_up: GiveUp,
    stop: StopRequest,
) -> Published:
    """Runs the job to its end, or raises the `RunError` that says why it cannot. What was published already is the end.

    `cache` is a folder of this node for fetched models; `now` returns the time as an RFC 3339 string; `give_up` is
    called, from any thread, where the run has to end and this function cannot return.
    """
    job, run = run.job, run.model_copy(update={"job": run.job.resolved})
    listener.stage("Checking the output")
    credentials, key = StoreCredentials.of(run), signing_key(run)
    store = _checked_output(run, credentials)
    if earlier := _published_before(run, store, listener):
        return earlier
    base = _fetch_model(run, cache, credentials, listener)
    run = run.model_copy(update={"job": going_on(job, base.folder).resolved})
    spec = run.job.spec
    data, max_length, tokenizer = _read_data(run, base, cache, credentials, listener)
    for note in rehearse(base.folder, spec, task_of(spec), data.space, tokenizer):
        listener.note(note)
    run = claim(run, store, now())
    listener.claimed(run.claimed)
    trained = _group_for(run)(Prepared(run, base, data, max_length, cache, give_up, stop), store, listener)
    given, result = trained.given, trained.result
    notes = _verify(store, run, base, data, tokenizer, result, listener)
    record = _record(run, given, base, data, result, notes, start_time=start_time, completion_time=now())
    if judged := headline(record):
        record = replace(record, errors=errors_of(data, judged, tokenizer))
    listener.stage("Publishing")
    with _last_of(run, store, listener) if given.kept else nullcontext():
        return _publish(store, run, record, result.files, key, listener)


def _checked_output(run: Run, credentials: StoreCredentials) -> Store:
    """The store, into which the run may write."""
    opened = partial(Store.open, secret=credentials.opening(run.root))
    store = opened(run.root)
    if run.resumes:
        # First: the preflight makes the folder of a run that may not exist.
        refuse_unknown(run, store)
    preflight(store)
    refuse_nested(run, opened)
    return store


def _published_before(run: Run, store: Store, listener: Listener) -> Published | None:
    """What an earlier execution of the run has published."""
    earlier = find_published(run, store)
    if earlier is not None:
        listener.note(f"execution {earlier.execution} has published this run already: nothing is trained again")
        if run.job.spec.training.checkpoints:
            swept(store, (), earlier.execution, listener)
    return earlier


@contextmanager
def _last_of(run: Run, store: Store, listener: Listener) -> Iterator[None]:
    """Within it the run publishes, unless another execution has begun; then nobody goes on from its checkpoints."""
    end(store, run)
    yield
    swept(store, (), run.claimed, listener)


def _group_for(run: Run) -> Training:
    """Who trains it. Ray is imported only where it has workers to start: that alone takes seconds."""
    if trains_alone(run):
        return train_alone
    with uncollected():
        from kubetune_trainer.on_ray import train_on_ray

    return train_on_ray


def _fetch_model(run: Run, cache: Path, credentials: StoreCredentials, listener: Listener) -> PretrainedModel:
    listener.stage("Fetching the model")
    model = run.job.spec.model
    return pretrained_model(model, cache, language_model_class(), credentials=credentials, tell=listener.note)


def _read_data(
    run: Run, base: PretrainedModel, cache: Path, credentials: StoreCredentials, listener: Listener
) -> tuple[PreparedData, int, Any]:
    """The rows, encoded; the longest sequence that job and model allow, in tokens; and the tokenizer."""
    listener.stage("Reading the data")
    spec = run.job.spec
    metrics = load_metrics(spec.evaluation.metrics)
    dataset = spec.dataset
    config = load_config(base.folder, spec)
    refuse_languages(config.model_type, spec)
    tokenizer = load_tokenizer(base.folder, spec.task.languages)
    check_vocabulary(config, tokenizer)
    sources = {"train": dataset, "validation": dataset.validation, "test": dataset.test}
    files = {
        name: fetch_dataset(source.uri, source.revision, cache, credentials)
        for name, source in sources.items()
        if source is not None
    }
    max_length = longest_sequence(config, spec.max_length)
    data = prepare(task_of(spec), spec, files, tokenizer, max_length)
    try_out(metrics, task_of(spec), data.space)
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
    if chosen := trained.end.sentence(run.job.spec.primary_metric):
        listener.note(chosen)
    listener.stage("Verifying the model")
    task = task_of(run.job.spec)
    generation = task.generation
    stopping = StopCheck(generation.answers(data.splits["train"], tokenizer) if generation else ())
    model = f"{run.folder}/{MODEL}"
    files, expected = trained.files, trained.expected
    verify(store, model, files, expected, base.folder, task.model_class(), stopping, trained.checked)
    if stopping.note is None:
        return ()
    listener.note(stopping.note)
    return (stopping.note,)


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
    return RunRecord(
        job=run.job,
        run_id=run.run_id,
        execution=run.claimed,
        resolved=given.resolved,
        device=trained.device,
        start_time=start_time,
        completion_time=completion_time,
        base=PretrainedRecord(
            uri=base.source.uri,
            revision=base.source.revision,
            family=trained.family,
            files=base.files,
            parameters=trained.parameters,
            trained_parameters=trained.trained_parameters,
            adapter=base.adapter_files,
        ),
        data=data.report,
        steps=trained.steps,
        evaluations=trained.evaluations,
        end=trained.end,
        requirements=trained.requirements,
        versions={"python": python_version()} | {package: version(package) for package in _PACKAGES},
        notes=notes,
    )


def _publish(
    store: Store,
    run: Run,
    record: RunRecord,
    uploaded: Sequence[StoredFile],
    key: EllipticCurvePrivateKey | None,
    listener: Listener,
) -> Published:
    """Uploads what people read, then the manifest, which names it all; where another execution was first, it counts."""
    against = doubts(record)
    for doubt in against:
        listener.note(doubt)
    with TemporaryDirectory(prefix="kubetune-") as scratch:
        here = Path(scratch)
        (here / "report.html").write_text(render_report(record), encoding="utf-8")
        (here / "README.md").write_text(render_card(record, store.uri(f"{run.folder}/{MODEL}")), encoding="utf-8")
        write_metrics(record, here / "metrics.jsonl")
        write_beside(here, attested(run, record, uploaded, key))
        files = [*uploaded, *upload_folder(here, store, run.folder)]
    if committed := commit(store, manifest(record, files, folder=run.folder, doubts=against)):
        return read_published(run, store, committed)
    first = find_published(run, store)
    assert first is not None, "a manifest is there and cannot be found"
    listener.note(f"execution {first.execution} published this run first: its model is the result")
    return first
