"""`kubetune run` that does not come to its end: wrong input, Ctrl-C, killed processes. Real processes, real Ray."""

# One worker trains in the trainer's own process, two are Ray's: each can be ended in ways of its own.

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubetune_api.reasons import Reason
from servers.scripted import ScriptedServer
from support.canaries import KEYS, files_that_show, shows_a_secret
from support.tiny_models import saved, tiny_model
from support.tiny_runs import command, environment, hard_rows, manifest, run, write_csv


def job_file(folder: Path, **training: Any) -> Path:
    """The file of a job with sixty rows."""
    base = saved(tiny_model("bert", labels=2), folder / "base")
    dataset = {"uri": write_csv(folder / "train.csv", ("text", "label"), hard_rows(60))}
    return manifest(folder, base, "SequenceClassification", dataset, training=training)


def test_a_wrong_column_is_the_users_to_mend(tmp_path: Path) -> None:
    code, status, _ = run(tmp_path, job_file(tmp_path), "--set", "spec.dataset.columns.label=verdict")
    assert code == 2
    assert status.conditions[0].reason == Reason.INVALID_DATA
    assert "spec.dataset.columns.label" in status.conditions[0].message
    assert not list((tmp_path / "out").rglob("*.json"))


def test_a_wrong_manifest_has_a_status_too(tmp_path: Path) -> None:
    code, status, _ = run(tmp_path, job_file(tmp_path), "--set", "spec.training.epochs=0")
    assert code == 2
    assert status.conditions[0].reason == Reason.INVALID_MANIFEST
    assert "spec.training.epochs" in status.conditions[0].message


def test_a_key_that_cannot_sign_ends_the_run_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    code, status, _ = run(tmp_path, job_file(tmp_path), "--signing-key", str(tmp_path / "key.pem"))
    assert (code, status.conditions[0].reason) == (1, Reason.CREDENTIALS_REFUSED)
    assert "key.pem cannot sign the model: it is no private key" in status.conditions[0].message
    assert not (tmp_path / "out").exists()


def test_wrong_credentials_are_told_without_them(tmp_path: Path) -> None:
    """Must show 6: on the screen, in the log and in whatever else is left, of a server that repeats the request."""
    repeated = f"<Error><Code>{KEYS['AWS_ACCESS_KEY_ID']}</Code><Message>{{request}}</Message></Error>"
    with ScriptedServer(403, repeated) as server:
        keys = {name: value for name, value in KEYS.items() if name != "GOOGLE_SERVICE_ACCOUNT_KEY"}
        own = environment(tmp_path, AWS_ENDPOINT_URL=server.endpoint, AWS_REGION="us-east-1", **keys)
        job = command(job_file(tmp_path), "--set", "spec.output.uri=s3://models/tiny")
        done = subprocess.run(job, env=own, capture_output=True, text=True, timeout=400)
    assert done.returncode == 1
    assert "refused the credentials" in done.stdout + done.stderr
    assert not shows_a_secret(done.stdout + done.stderr)
    assert files_that_show(tmp_path, ()) == []


@pytest.fixture
def workers() -> int:
    """How many train."""
    return 2


both_groups = pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "two workers"])


@pytest.fixture
def training(tmp_path: Path, workers: int) -> Iterator[subprocess.Popen[str]]:
    """A run in the middle of a training that would take very long."""
    job = job_file(tmp_path, epochs=1000, globalBatchSize=10, microBatchSize=1)
    # A shell has its background jobs ignore Ctrl-C, and so would what the tests start if they are one.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *command(job, "--workers", str(workers))],
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
    """Which of them still run four minutes later; returns as soon as none does."""
    deadline = time.monotonic() + 240
    while (left := [process for process in processes if runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended, though nobody may have asked how."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@both_groups
def test_ctrl_c_in_mid_training_leaves_no_process_and_no_manifest(
    training: subprocess.Popen[str], tmp_path: Path, workers: int
) -> None:
    started = psutil.Process(training.pid).children(recursive=True)
    assert len(started) == 1 if workers == 1 else len(started) > 3
    training.send_signal(signal.SIGINT)
    output, _ = training.communicate(timeout=240)
    assert training.returncode == 1
    assert "Failed (Interrupted)" in output
    assert survivors(started) == []
    assert not list((tmp_path / "out").rglob("manifest.json"))


@both_groups
def test_a_killed_command_line_takes_the_training_with_it(training: subprocess.Popen[str]) -> None:
    started = psutil.Process(training.pid).children(recursive=True)
    training.kill()
    assert survivors(started) == []


def test_a_killed_worker_ends_the_run_with_a_sentence(training: subprocess.Popen[str]) -> None:
    found = [
        process
        for process in psutil.Process(training.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(process.cmdline())
    ]
    assert found
    found[0].kill()
    output, _ = training.communicate(timeout=240)
    assert training.returncode == 1
    assert "Failed (Unknown): a worker process died" in output


@pytest.mark.parametrize("workers", [1])
def test_a_killed_trainer_is_told_with_the_usual_cause(training: subprocess.Popen[str]) -> None:
    (trainer,) = psutil.Process(training.pid).children(recursive=True)
    trainer.kill()
    output, _ = training.communicate(timeout=240)
    assert training.returncode == 1
    assert "Failed (Unknown): the trainer was killed; if nobody did that, memory was short: lower" in output
