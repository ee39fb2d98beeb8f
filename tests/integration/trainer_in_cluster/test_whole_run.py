"""A whole run in the way of a cluster: Ray is there already, and reports go to a real API server."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import read_manifest
from kubetune_api.reasons import Reason
from kubetune_api.run import ReportTo, Run
from kubetune_api.run_report import RunReport
from kubetune_api.uris import resolve_relative_uris
from kubetune_trainer.artifact.published import Published
from servers.kube import ApiServer
from servers.ray_nodes import RayNodes
from support.head_service_account import CONFIG_MAP, HeadAccount
from support.runs_in_one_process import run_of as run_here
from support.tiny_models import saved, tiny_model
from support.tiny_runs import hard_rows, manifest, write_csv

WAIT = 600


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """A head without a place for any worker."""
    nodes = RayNodes(tmp_path_factory.mktemp("ray"))
    try:
        nodes.start_head()
        yield nodes
    finally:
        nodes.stop()


@pytest.fixture
def head(api_server: ApiServer, tmp_path: Path) -> Iterator[HeadAccount]:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    head = HeadAccount(api_server, folder)
    head.create()
    yield head
    head.delete()


class Started:
    """The trainer, as Ray's job manager starts it on the head."""

    def __init__(self, head: HeadAccount, nodes: RayNodes, folder: Path, run: Run) -> None:
        file = folder / f"run-{run.attempt}.json"
        file.write_text(run.model_dump_json(by_alias=True, exclude_none=True))
        self._events = folder / f"events-{run.attempt}.jsonl"
        self.log = folder / f"log-{run.attempt}.txt"
        command = [sys.executable, "-m", "kubetune_trainer", str(file), "--service-account", str(head.folder)]
        cluster = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(head.server.port)}
        own = {"KUBETUNE_CACHE": str(folder / f"cache-{run.attempt}")}
        with self._events.open("wb") as events, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | nodes.env | cluster | own, stdout=events, stderr=log
            )

    def end(self) -> int:
        """The exit code."""
        return self.process.wait(WAIT)

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind among what it printed; Ray prints there too."""
        lines = [line for line in self._events.read_text().splitlines() if line.startswith('{"event"')]
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def run_of(head: HeadAccount, folder: Path, **spec: Any) -> Run:
    base = saved(tiny_model("bert", labels=2), folder / "base")
    dataset = {"uri": write_csv(folder / "train.csv", ("text", "label"), hard_rows(60))}
    text = manifest(folder, base, "SequenceClassification", dataset, **spec).read_text()
    (job,) = read_manifest(text, "job.yaml").jobs
    target = ReportTo(namespace=head.namespace, name=CONFIG_MAP)
    return Run(job=resolve_relative_uris(job, folder), run_id="uid-1", attempt=1, workers=2, report_to=target)


def test_a_run_waits_for_its_nodes_reports_its_end_and_is_not_trained_twice(
    head: HeadAccount, nodes: RayNodes, tmp_path: Path
) -> None:
    run = run_of(head, tmp_path)
    with Started(head, nodes, tmp_path, run) as first:
        head.wait_for(lambda report: report.doing == "Starting the workers")
        nodes.join(cpus=2)
        assert first.end() == 0, first.log.read_text()[-3000:]
    report = head.report()
    assert (report.attempt, report.execution, report.doing) == (1, 1, "Publishing")
    assert report.finished is not None
    assert report.finished.phase == "Succeeded"
    assert report.progress == report.finished.progress
    assert report.data is not None
    assert report.data == report.finished.data
    assert first.events("data") == [{"event": "data", "data": report.data.to_dict(), "samples": []}]
    assert report.progress is not None
    assert report.progress.step == report.progress.total_steps
    assert "there is a place for 0 of 2 workers" in first.log.read_text()
    assert first.events("finished") == [{"event": "finished", "status": report.finished.to_dict()}]
    assert first.events("claimed") == [{"event": "claimed", "execution": 1}]
    root = tmp_path / "out" / "team-a" / "tiny" / "uid-1"
    assert json.loads((root / "manifest.json").read_bytes())["provenance"]["workers"] == 2
    adopts_what_was_published(head, nodes, tmp_path, run, report)


def adopts_what_was_published(head: HeadAccount, nodes: RayNodes, folder: Path, run: Run, before: RunReport) -> None:
    """Whatever became of the first attempt: its answer is lost, and the next one starts."""
    root = folder / "out" / "team-a" / "tiny" / "uid-1"
    state = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    with Started(head, nodes, folder, run.model_copy(update={"attempt": 2})) as second:
        assert second.end() == 0, second.log.read_text()[-3000:]
    report = head.report()
    assert (report.attempt, report.execution, report.doing) == (2, None, "Checking the output")
    assert before.finished is not None
    assert report.finished == before.finished.model_copy(update={"progress": None, "data": None})
    assert [event["text"] for event in second.events("note")] == [
        "execution 1 has published this run already: nothing is trained again"
    ]
    assert second.events("progress") == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == state


def test_a_run_that_is_stopped_says_so_before_it_ends(head: HeadAccount, nodes: RayNodes, tmp_path: Path) -> None:
    run = run_of(head, tmp_path, training={"epochs": 1000, "microBatchSize": 1})
    if nodes.alone:
        nodes.join(cpus=2)
    with Started(head, nodes, tmp_path, run) as started:
        head.wait_for(lambda report: report.doing == "Training on 48 rows with 2 workers")
        head.wait_for(lambda report: report.progress is not None and report.progress.step > 0)
        started.process.send_signal(signal.SIGTERM)
        assert started.end() == 1
    report = head.report()
    assert report.finished is not None
    assert report.finished.conditions[0].reason == Reason.INTERRUPTED
    assert report.finished.progress is not None
    assert not list((tmp_path / "out").rglob("manifest.json"))


def losses(root: Path) -> dict[int, float]:
    (path,) = root.glob("executions/*/metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["type"] == "step"}


def interrupted_at(report: RunReport) -> int:
    """The step that a run saved when it was told to stop."""
    assert report.finished is not None
    (condition,) = report.finished.conditions
    assert condition.reason == Reason.INTERRUPTED
    said = re.search(r"behind step (\d+), which is saved; the next attempt goes on from there", condition.message)
    assert said is not None, condition.message
    assert report.finished.checkpoint is not None
    assert report.finished.checkpoint.step == int(said[1])
    return int(said[1])


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_a_run_that_is_told_to_stop_saves_the_step_goes_on_and_comes_to_the_same(
    head: HeadAccount, nodes: RayNodes, tmp_path: Path
) -> None:
    # Of two workers a step takes some hundredths of a second, and a stop is heard after a second or two.
    training = {"maxSteps": 600, "epochs": 1000, "globalBatchSize": 8, "checkpoints": {"everySteps": 1000}}
    run = run_of(head, tmp_path, training=training)
    if nodes.alone:
        nodes.join(cpus=2)
    with Started(head, nodes, tmp_path, run) as first:
        while first.process.poll() is None and not first.events("progress"):
            sleep(0.05)
        first.process.send_signal(signal.SIGTERM)
        assert first.end() == 1, first.log.read_text()[-3000:]
    assert "Saving the training, which was told to stop" in [event["text"] for event in first.events("stage")]
    assert 0 < interrupted_at(head.report()) < 600
    assert len(list(nodes.stop_folder.glob("processes/*"))) >= 2, "a pod's end waits for its ranks"
    with Started(head, nodes, tmp_path, run.model_copy(update={"attempt": 2})) as second:
        assert second.end() == 0, second.log.read_text()[-3000:]
    content = run.job.to_dict()
    content["spec"]["output"]["uri"] = (tmp_path / "undisturbed").as_uri()
    undisturbed = losses(root_of(run_here(FineTuneJob.model_validate(content), tmp_path)))
    assert losses(tmp_path / "out" / "team-a" / "tiny" / "uid-1") == pytest.approx(undisturbed, abs=1e-3)
    assert len(undisturbed) == 600


def root_of(published: Published) -> Path:
    return Path(published.artifact.manifest_uri.removeprefix("file://")).parent
