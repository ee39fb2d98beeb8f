"""`kubetune run` as a person runs it: real processes, real Ray, a tiny model."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BertConfig

from kubetune_api.reasons import Reason
from kubetune_api.status import FineTuneJobStatus
from servers.s3 import S3Server
from support.tiny_tokenizers import bert_like

TEXTS = {"good": "the cast is great and the story moving, take {}", "bad": "a dull film, not what was good, take {}"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, saved as a pretrained model is."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = bert_like()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """120 rows to train on; beside them 30 rows of the same kind in `held-out.csv`."""
    for name, numbers in (("rows.csv", range(60)), ("held-out.csv", range(60, 75))):
        rows = [f'"{text.format(number)}",{label}' for number in numbers for label, text in TEXTS.items()]
        (tmp_path / name).write_text("\n".join(["text,label", *rows]))
    return tmp_path / "rows.csv"


def manifest(folder: Path, model: Path, data: str, output: str, **training: Any) -> Path:
    path = folder / "job.yaml"
    job = {
        "apiVersion": "kubetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "tiny", "namespace": "team-a"},
        "spec": {
            "model": {"uri": f"file://{model}"},
            "task": {"type": "SequenceClassification", "maxLength": 32},
            "dataset": {"uri": data, "columns": {"text": "text", "label": "label"}},
            "method": {"freeze": {"embeddings": True, "bottomLayers": 1}},
            "training": {"globalBatchSize": 10, "microBatchSize": 4, "learningRate": 5e-3, "epochs": 2, **training},
            "output": {"uri": output},
        },
    }
    path.write_text(yaml.safe_dump(job))
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from kubetune_cli.main import main; main()", "run", *map(str, arguments)]


def environment(folder: Path, **more: str) -> dict[str, str]:
    return os.environ | {"XDG_STATE_HOME": str(folder / "state"), "KUBETUNE_CACHE": str(folder / "cache"), **more}


def run(folder: Path, *arguments: str | Path, **more: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    """The finished command, and the status that it printed."""
    done = subprocess.run(
        command(*arguments, "--json"), env=environment(folder, **more), capture_output=True, text=True, timeout=300
    )
    assert done.stdout.count("\n") == 1, done.stderr
    return done, FineTuneJobStatus.model_validate_json(done.stdout)


def test_three_workers_train_from_s3_to_s3_and_the_model_is_what_its_status_says(
    tmp_path: Path, model: Path, data: Path, s3_server: S3Server
) -> None:
    for bucket in ("data", "models"):
        s3_server.make_bucket(bucket)
    stored = tmp_path / "s3" / "buckets"
    held_out = data.with_name("held-out.csv")
    for file in (data, held_out):
        (stored / "data" / file.name).write_bytes(file.read_bytes())
    job = manifest(tmp_path, model, "s3://data/r*.csv", "s3://models/tiny", maxSteps=12)
    test = "spec.dataset.test={uri: s3://data/held-out.csv}"
    done, status = run(tmp_path, job, "--workers", "3", "--set", test, **s3_server.env)
    assert done.returncode == 0, done.stderr
    assert status.artifact is not None
    root = stored / "models" / "tiny" / "team-a" / "tiny" / str(status.run)
    published = (root / "manifest.json").read_bytes()
    assert status.artifact.digest == f"sha256:{hashlib.sha256(published).hexdigest()}"
    content = json.loads(published)
    for file in content["files"]:
        assert hashlib.sha256((root / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert {"report.html", "README.md", "metrics.jsonl"} <= {Path(file["path"]).name for file in content["files"]}
    folder = root / "executions" / "1" / "model"
    metrics = {metric.name: metric.value for metric in status.metrics}
    assert metrics["test/accuracy"] == pytest.approx(accuracy(folder, held_out), abs=1e-6)
    before, after = AutoModel.from_pretrained(model), AutoModel.from_pretrained(folder)
    same = {name for name, values in after.state_dict().items() if torch.equal(values, before.state_dict()[name])}
    assert {name for name in same if name.startswith("encoder.layer.1")} <= {"encoder.layer.1.attention.self.key.bias"}
    assert {name for name in after.state_dict() if name.startswith(("embeddings", "encoder.layer.0"))} <= same


def accuracy(folder: Path, rows_file: Path) -> float:
    """By other means than the trainer's: one batch, transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = [line.rsplit(",", 1) for line in rows_file.read_text().splitlines()[1:]]
    with torch.no_grad():
        logits = network(**tokenizer([text.strip('"') for text, _ in rows], return_tensors="pt", padding=True)).logits
    answers = [network.config.id2label[int(answer)] for answer in logits.argmax(-1)]
    return float(np.mean([answer == label for answer, (_, label) in zip(answers, rows, strict=True)]))


def test_a_missed_requirement_keeps_the_work_aside_and_a_second_run_leaves_it_alone(
    tmp_path: Path, model: Path, data: Path
) -> None:
    job = manifest(tmp_path, model, f"file://{data}", "file://./out", maxSteps=2)
    missed = "spec.evaluation.require=[{metric: test/loss, max: 0}]"
    done, status = run(tmp_path, job, "--set", missed)
    assert done.returncode == 1
    assert status.phase == "Failed"
    assert status.conditions[0].reason == Reason.REQUIREMENT_MISSED
    assert status.artifact is not None
    assert status.artifact.rejected
    runs = tmp_path / "out" / "team-a" / "tiny"
    first = runs / str(status.run)
    assert json.loads((first / "manifest.json").read_bytes())["rejected"]
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    done, _ = run(tmp_path, job)
    assert done.returncode == 0, done.stderr
    assert len(list(runs.iterdir())) == 2
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before


def test_a_wrong_column_is_the_users_to_mend(tmp_path: Path, model: Path, data: Path) -> None:
    job = manifest(tmp_path, model, f"file://{data}", "file://./out")
    done, status = run(tmp_path, job, "--set", "spec.dataset.columns.label=verdict")
    assert done.returncode == 2
    assert status.conditions[0].reason == Reason.INVALID_DATA
    assert "spec.dataset.columns.label" in status.conditions[0].message
    assert not list((tmp_path / "out").rglob("*.json"))


def test_a_wrong_manifest_has_a_status_too(tmp_path: Path, model: Path, data: Path) -> None:
    job = manifest(tmp_path, model, f"file://{data}", "file://./out")
    done, status = run(tmp_path, job, "--set", "spec.training.epochs=0")
    assert done.returncode == 2
    assert status.conditions[0].reason == Reason.INVALID_MANIFEST
    assert "spec.training.epochs" in status.conditions[0].message


@pytest.fixture
def training(tmp_path: Path, model: Path, data: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in the middle of a training that would take very long."""
    job = manifest(tmp_path, model, f"file://{data}", "file://./out", epochs=1000, microBatchSize=1)
    # A shell has its background jobs ignore Ctrl-C, and so would what the tests start if they are one.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *command(job)],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip().startswith("step"):
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Which of them still run two minutes later."""
    _, alive = psutil.wait_procs(processes, timeout=120)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_ctrl_c_in_mid_training_leaves_no_process_and_no_manifest(
    training: subprocess.Popen[str], tmp_path: Path
) -> None:
    started = psutil.Process(training.pid).children(recursive=True)
    assert len(started) > 3
    training.send_signal(signal.SIGINT)
    output, _ = training.communicate(timeout=240)
    assert training.returncode == 1
    assert "Failed (Interrupted)" in output
    assert survivors(started) == []
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_a_killed_command_line_takes_the_training_with_it(training: subprocess.Popen[str]) -> None:
    started = psutil.Process(training.pid).children(recursive=True)
    training.kill()
    deadline = time.monotonic() + 240
    while survivors(started) and time.monotonic() < deadline:
        time.sleep(1)
    assert survivors(started) == []


def test_a_killed_worker_ends_the_run_with_a_sentence(training: subprocess.Popen[str]) -> None:
    workers = [
        process
        for process in psutil.Process(training.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(process.cmdline())
    ]
    assert workers
    workers[0].kill()
    output, _ = training.communicate(timeout=240)
    assert training.returncode == 1
    assert "Failed (Unknown): a worker process died" in output
