"""`kubetune run --resume`: a training that was killed outright goes on. Real processes."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from kubetune_api.job import FineTuneJob
from kubetune_trainer.checkpoint.chain import read_chain
from kubetune_trainer.cores import settle_threads
from kubetune_trainer.storage.store import Store
from support.runs_in_one_process import run_of
from support.tiny_models import saved, tiny_model
from support.tiny_runs import command, environment, hard_rows, manifest, run, write_csv


def job_file(folder: Path) -> Path:
    base = saved(tiny_model("bert", labels=2), folder / "base")
    dataset = {"uri": write_csv(folder / "train.csv", ("text", "label"), hard_rows(60))}
    training = {"maxSteps": 120, "epochs": 100, "globalBatchSize": 8, "dropout": 0.1}
    saved_as = {"checkpoints": {"everySteps": 5}, "keep": "Best"}
    return manifest(
        folder, base, "SequenceClassification", dataset, training={**training, **saved_as}, evaluation={"everySteps": 4}
    )


def killed_behind_a_commit(folder: Path, job: Path) -> str:
    """The id of a run whose trainer was killed in the middle."""
    process = subprocess.Popen(
        command(job), env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 240
    while not (found := list((folder / "out").rglob("checkpoints/000003.json"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found
    # Records of the training come to the command line three times in a second.
    time.sleep(0.5)
    (trainer,) = psutil.Process(process.pid).children()
    trainer.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    run_id = found[0].parent.parent.name
    assert process.returncode == 1
    assert re.search(rf"to go on from its last checkpoint, that of step \d+: --resume {run_id}", output)
    return run_id


def trained_here(job: Path, folder: Path) -> Path:
    """The folder of a run of the same job in this process, which nobody ends."""
    content = json.loads(job.read_text())
    content["spec"]["output"]["uri"] = (folder / "undisturbed").as_uri()
    with patch.dict(os.environ):
        # Biases sum in another order with another number of threads.
        settle_threads()
        published = run_of(FineTuneJob.model_validate(content), folder)
    return Path(published.artifact.manifest_uri.removeprefix("file://")).parent


def losses(root: Path) -> dict[int, float]:
    (path,) = root.glob("executions/*/metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["type"] == "step"}


def weights(root: Path) -> bytes:
    (path,) = root.glob("executions/*/model/model.safetensors")
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_a_training_that_was_killed_comes_to_the_same_bit_for_bit(tmp_path: Path) -> None:
    job = job_file(tmp_path)
    run_id = killed_behind_a_commit(tmp_path, job)
    code, status, root = run(tmp_path, job, "--resume", run_id)
    assert (code, status.run) == (0, run_id)
    assert [path.name for path in sorted((root / "executions").glob("*.json"))] == ["1.json", "2.json"]
    assert not list(root.glob("executions/*/checkpoints/*/*"))
    undisturbed = trained_here(job, tmp_path)
    assert losses(root) == losses(undisturbed)
    assert len(losses(root)) == 120
    assert weights(root) == weights(undisturbed)


def test_the_first_ctrl_c_saves_the_step_and_tells_how_to_go_on(tmp_path: Path) -> None:
    settings = ("maxSteps=100000", "epochs=1000", "globalBatchSize=1")
    long = [word for setting in settings for word in ("--set", f"spec.training.{setting}")]
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *command(job_file(tmp_path), *long)],
        env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.strip().startswith("step"):
            break
    process.send_signal(signal.SIGINT)
    output = "".join([*lines, *process.communicate(timeout=240)[:1]])
    assert process.returncode == 1
    assert "Ctrl-C once more ends it at once" in output
    assert "• Saving the training, which was told to stop" in output
    said = re.search(r"Failed \(Interrupted\): .* behind step ([\d,]+), which is saved", output)
    assert said is not None, output
    (root,) = (tmp_path / "out").glob("*/*/*")
    step = said[1]
    assert f"to go on from its last checkpoint, that of step {step}: --resume {root.name}" in output
    newest = read_chain(Store.open(root.as_uri()), root.name).checkpoints[0]
    assert f"{newest.step:,}" == said[1]
    assert not list(root.glob("manifest.json"))
