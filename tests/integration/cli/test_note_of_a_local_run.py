"""`kubetune run` of a manifest that speaks to a cluster's operator as well."""

import os
import subprocess
from pathlib import Path

import yaml

from support.cli_on_api_server import SECONDS, command
from support.job_cases import edited


def test_a_local_run_prints_one_note_and_goes_on_though_the_job_is_suspended(tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    edits = {"spec.suspend": True, "spec.queueName": "team-a", "spec.output.uri": f"file://{tmp_path}/out"}
    manifest.write_text(yaml.safe_dump(edited(edits)))
    done = subprocess.run(
        command("run", str(manifest)), env=os.environ | {"XDG_STATE_HOME": str(tmp_path)}, capture_output=True,
        text=True, timeout=SECONDS,
    )  # fmt: skip
    said = " ".join(done.stdout.split())
    assert said.count("note: ") == 1
    assert "note: a local run ignores queueName and suspend, which only the operator uses" in said
    # It goes on to the model, which is not there.
    assert done.returncode == 2
    assert "Failed (InvalidModel)" in said
