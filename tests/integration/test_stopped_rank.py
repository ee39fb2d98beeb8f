"""`kubetune run` with two workers, of which one is stopped: it is named, and the run ends. Real processes, real Ray."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from kubetune_api.reasons import Reason
from support.tiny_models import saved, tiny_model
from support.tiny_runs import command, environment, hard_rows, manifest, write_csv


def endless(folder: Path) -> Path:
    base = saved(tiny_model("bert", labels=2), folder / "base")
    dataset = {"uri": write_csv(folder / "train.csv", ("text", "label"), hard_rows(60))}
    training = {"epochs": 1000, "globalBatchSize": 2, "checkpoints": {"everySteps": 5}}
    return manifest(
        folder, base, "SequenceClassification", dataset, training={**training, "watchdog": {"hangSeconds": 10}}
    )


def ranks(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Those of Ray Train, by the names that they give themselves."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [one for one in below if "RayTrainWorker" in " ".join(one.cmdline())]


def test_a_stopped_rank_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    job = endless(tmp_path)
    process = subprocess.Popen(
        command(job, "--workers", "2", "--json"),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not list((tmp_path / "out").rglob("checkpoints/000002.json")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    everyone = psutil.Process(process.pid).children(recursive=True)
    both = ranks(process)
    assert len(both) == 2, [one.cmdline() for one in everyone]
    both[1].send_signal(signal.SIGSTOP)
    output, said = process.communicate(timeout=240)
    status: dict[str, Any] = json.loads(output)
    assert process.returncode == 1, said
    (condition,) = [one for one in status["conditions"] if one["type"] == "Failed"]
    assert condition["reason"] == Reason.HUNG
    assert f", process {both[1].pid}) has not answered for" in condition["message"]
    assert "; the others wait in " in condition["message"]
    assert not [one for one in everyone if one.is_running()]
    (log,) = (tmp_path / "state").rglob("*.log")
    assert "training/loop.py" in log.read_text()
