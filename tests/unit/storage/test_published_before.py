"""A run that finds itself published: the attempt before it did its work, and its answer was lost."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.run import Run
from kubetune_api.status import FineTuneJobStatus, Metric
from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.artifact.publish import canonical_json, claim, commit, upload_folder
from kubetune_trainer.artifact.published import find_published, read_published
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import RequirementResult, RunRecord
from kubetune_trainer.storage.store import Store
from support.run_records import causal, classification

NOW = "2026-03-02T09:14:07Z"
RECORD = classification(run_id="run-1", execution=1)
MISSED = replace(RECORD, requirements=(RequirementResult("test/accuracy", 0.8349, 0.9, None),))


@pytest.fixture
def run() -> Run:
    return Run(job=RECORD.job, run_id="run-1", workers=2)


def publish(
    run: Run, store: Store, record: RunRecord, scratch: Path, doubts: tuple[str, ...] = ()
) -> FineTuneJobStatus:
    """Publishes as a run does; the status that it ends with."""
    run = claim(run, store, NOW)
    (scratch / "model").mkdir(parents=True)
    (scratch / "model" / "model.safetensors").write_bytes(b"weights")
    (scratch / "report.html").write_text("a report")
    files = upload_folder(scratch, store, run.folder)
    data = commit(store, manifest(record, files, folder=run.folder, doubts=doubts))
    assert data is not None
    return read_published(run, store, data).status(None)


def found(run: Run, store: Store) -> FineTuneJobStatus:
    published = find_published(run, store)
    assert published is not None
    return published.status(None)


def test_where_nothing_is_published_nothing_is_found(run: Run, store: Store) -> None:
    assert find_published(run, store) is None
    claim(run, store, NOW)
    assert find_published(run, store) is None


def test_what_speaks_against_the_model_is_in_every_status_of_the_run(run: Run, store: Store, tmp_path: Path) -> None:
    publish(run, store, RECORD, tmp_path / "scratch", ("It is no better than a guess.",))
    message = found(run, store).conditions[0].message
    assert message == "The model is verified and published. It is no better than a guess."


def test_the_next_attempt_ends_with_the_same_status(run: Run, store: Store, root: Path, tmp_path: Path) -> None:
    told = publish(run, store, RECORD, tmp_path / "scratch")
    assert found(run.model_copy(update={"attempt": 2}), store) == told
    assert (told.phase, told.start_time, told.completion_time) == (
        "Succeeded",
        RECORD.start_time,
        RECORD.completion_time,
    )
    assert [(metric.name, metric.value) for metric in told.metrics] == [*RECORD.final_metrics().items()]
    assert told.artifact is not None
    assert told.artifact.uri == f"{root.as_uri()}/executions/1/model"
    assert told.artifact.report_uri == f"{root.as_uri()}/executions/1/report.html"
    assert told.artifact.size_bytes == len(b"weights") + len("a report")


@pytest.mark.parametrize("name", [None, "validation/loss"])
def test_the_status_says_the_metric_that_stands_for_the_model(
    run: Run, store: Store, tmp_path: Path, name: str | None
) -> None:
    evaluation = run.job.spec.evaluation.model_copy(update={"primary_metric": name})
    spec = run.job.spec.model_copy(update={"evaluation": evaluation})
    run = run.model_copy(update={"job": run.job.model_copy(update={"spec": spec})})
    primary = publish(run, store, RECORD, tmp_path / "scratch").primary_metric
    expected = name or "test/accuracy"
    assert primary == Metric(name=expected, value=RECORD.final_metrics()[expected])


def test_the_status_says_what_ran(run: Run, store: Store, tmp_path: Path) -> None:
    ran = replace(RECORD.resolved, stage=1, precision="BF16", micro_batch_size=4, workers=2)
    told = publish(run, store, replace(RECORD, resolved=ran), tmp_path / "scratch").resolved
    assert told == ResolvedSettings(
        workers=2,
        zero_stage=1,
        precision="BF16",
        micro_batch_size=4,
        learning_rate=ran.learning_rate,
        max_length=ran.max_length,
        activation_checkpointing=ran.activation_checkpointing,
    )


def test_a_missed_requirement_is_missed_again(run: Run, store: Store, root: Path, tmp_path: Path) -> None:
    told = publish(run, store, MISSED, tmp_path / "scratch")
    assert found(run, store) == told
    (condition,) = told.conditions
    assert (told.phase, condition.reason) == ("Failed", Reason.REQUIREMENT_MISSED)
    assert condition.message == (
        f"test/accuracy is 0.8349, required is at least 0.9. The model is kept in {root.as_uri()}/executions/1/model"
    )
    assert told.artifact is not None
    assert told.artifact.rejected


def test_of_an_accepted_and_a_rejected_execution_that_race_one_ends_the_run(
    run: Run, store: Store, root: Path, tmp_path: Path
) -> None:
    accepted = classification(run_id="run-1", execution=1)
    rejected = replace(accepted, execution=2, requirements=MISSED.requirements)
    contents = [manifest(record, [], folder=f"executions/{record.execution}") for record in (accepted, rejected)]
    assert [content["rejected"] for content in contents] == [False, True]
    both_ready = Barrier(2)

    def publish_at_once(content: dict[str, Any]) -> bytes | None:
        both_ready.wait()
        return commit(store, content)

    with ThreadPoolExecutor(2) as pool:
        committed = [data for data in pool.map(publish_at_once, contents) if data is not None]
    assert len(committed) == 1
    assert [path.relative_to(root).as_posix() for path in root.rglob("manifest.json")] == ["manifest.json"]
    assert found(run, store) == read_published(run, store, committed[0]).status(None)


def test_a_metric_beyond_all_numbers_stays_out(run: Run, store: Store, tmp_path: Path) -> None:
    record = replace(causal(run_id="run-1", execution=1), requirements=())
    record.evaluations[-1].metrics["perplexity"] = float("inf")
    told = publish(run, store, record, tmp_path / "scratch")
    assert found(run, store) == told
    assert "test/perplexity" not in {metric.name for metric in told.metrics}
    assert told.primary_metric is None
    assert "test/loss" in {metric.name for metric in told.metrics}


def refusal(run: Run, store: Store) -> str:
    with pytest.raises(RunError) as caught:
        find_published(run, store)
    assert caught.value.reason == Reason.STORAGE_FAILED
    start = f"{store.uri('manifest.json')} says that this run is published, but "
    end = ". Nothing was changed; start a new job, or move the manifest away to train again."
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    return str(caught.value).removeprefix(start).removesuffix(end)


def test_a_file_that_is_gone_is_told(run: Run, store: Store, root: Path, tmp_path: Path) -> None:
    publish(run, store, RECORD, tmp_path / "scratch")
    (root / "executions/1/model/model.safetensors").unlink()
    assert refusal(run, store) == "executions/1/model/model.safetensors, which it names, is not there"


def test_a_file_of_another_size_is_told(run: Run, store: Store, root: Path, tmp_path: Path) -> None:
    publish(run, store, RECORD, tmp_path / "scratch")
    (root / "executions/1/report.html").write_text("a longer report")
    assert refusal(run, store) == "executions/1/report.html has 15 bytes, and 8 were published"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"run": "run-2"}, "it is that of another run", id="of another run"),
        pytest.param({"files": "none"}, "it is not a manifest of kubetune (files is wrong)", id="without files"),
        pytest.param({"execution": 0}, "it is not a manifest of kubetune (execution is wrong)", id="of no execution"),
    ],
)
def test_a_manifest_that_cannot_be_this_runs_is_told(
    run: Run, store: Store, root: Path, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    publish(run, store, RECORD, tmp_path / "scratch")
    path = root / "manifest.json"
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | changes))
    assert refusal(run, store) == why


def test_a_manifest_that_is_no_json_is_told(run: Run, store: Store, root: Path) -> None:
    root.mkdir()
    (root / "manifest.json").write_bytes(b"\xff")
    assert refusal(run, store) == "it is not a manifest of kubetune (the whole of it is wrong)"
