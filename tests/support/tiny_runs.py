"""`kubetune run` as a person runs it, with a tiny model: real processes, real Ray."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kubetune_api.status import FineTuneJobStatus

Rows = list[tuple[str, str]]


def hard_rows(rows: int, *, seed: int = 0) -> Rows:
    """Texts with a label that their words only hint at, so that no model is always right."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(rows):
        label = int(random.integers(0, 2))
        words = random.integers(4 + 15 * label, 46 + 15 * label, random.integers(6, 12))
        found.append((" ".join(f"w{word}" for word in words), ("no", "yes")[label]))
    return found


def counting_rows(rows: int, *, seed: int = 0) -> Rows:
    """Prompts of words, each with the words that follow its last one."""
    random = np.random.default_rng(seed)
    prompts = [random.integers(4, 50, random.integers(2, 6)) for _ in range(rows)]
    return [
        (
            " ".join(f"w{word}" for word in prompt),
            " ".join(f"w{prompt[-1] + 1 + step}" for step in range(random.integers(1, 8))),
        )
        for prompt in prompts
    ]


def write_csv(path: Path, header: Sequence[str], rows: Rows) -> str:
    """The rows as a file; its URI."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path.as_uri()


def manifest(folder: Path, model: Path, task: str, dataset: dict[str, Any], **spec: Any) -> Path:
    """A job's file; the output is the folder `out` beside it."""
    classifies = task == "SequenceClassification"
    columns = {"text": "text", "label": "label"} if classifies else {"prompt": "prompt", "completion": "completion"}
    job = {
        "apiVersion": "kubetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "tiny", "namespace": "team-a"},
        "spec": {
            "model": {"uri": model.as_uri()},
            "task": {"type": task, "maxLength": 32},
            "dataset": {"columns": columns, **dataset},
            "output": {"uri": "file://./out"},
            **spec,
        },
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps(job))  # every JSON document is a YAML one
    return path


def command(*arguments: str | Path) -> list[str]:
    """`kubetune run` with these arguments."""
    return [sys.executable, "-c", "from kubetune_cli.main import main; main()", "run", *map(str, arguments)]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """That of a command which keeps its notes and its cache in the folder."""
    return os.environ | {"XDG_STATE_HOME": str(folder / "state"), "KUBETUNE_CACHE": str(folder / "cache"), **more}


def run(folder: Path, *arguments: str | Path, **more: str) -> tuple[int, FineTuneJobStatus, Path]:
    """The exit code, the status that was printed, and the run's folder; asserts that nothing else was printed."""
    done = subprocess.run(
        command(*arguments, "--json"), env=environment(folder, **more), capture_output=True, text=True, timeout=400
    )
    assert done.stdout.count("\n") == 1, done.stderr
    status = FineTuneJobStatus.model_validate_json(done.stdout)
    return done.returncode, status, folder / "out" / "team-a" / "tiny" / str(status.run)
