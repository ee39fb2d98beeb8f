"""S7: the driver trains the run that the operator made, and no other that somebody put in its place."""

import subprocess
import sys
from pathlib import Path

import pytest

from kubetune_api.run import Run
from support.job_cases import edited


@pytest.mark.parametrize(
    ("digest", "sentence"),
    [
        pytest.param("0" * 64, "somebody replaced its ConfigMap", id="another digest"),
        pytest.param("", "somebody replaced its ConfigMap", id="half a command"),
    ],
)
def test_a_run_that_somebody_replaced_is_not_trained(tmp_path: Path, digest: str, sentence: str) -> None:
    job = edited({"spec.output.uri": (tmp_path / "out").as_uri()})
    file = tmp_path / "run.json"
    file.write_text(Run.model_validate({"job": job, "runId": "r"}).model_dump_json(by_alias=True, exclude_none=True))
    command = [sys.executable, "-m", "kubetune_trainer", str(file), "--sha256", digest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert sentence in done.stdout
    assert not (tmp_path / "out").exists()
