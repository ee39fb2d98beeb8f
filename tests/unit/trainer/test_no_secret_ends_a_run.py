"""Whatever ends a run, and whoever worded it, no key of a Secret is in the status or in the log."""

import os
import subprocess
import sys
from pathlib import Path

from kubetune_api.run import Run
from support.canaries import KEYS, mounted, shows_a_secret
from support.job_cases import edited

LIBRARY = """
raise ValueError("The server " + {server!r} + " of " + {uri!r} + " was sent: " + {words!r})
"""
ENDPOINT = "https://minio.test:9000"


def test_the_words_of_a_library_are_told_without_the_keys(tmp_path: Path) -> None:
    """Where a Secret has more than keys, what the run itself says stays readable."""
    uri = (tmp_path / "out").as_uri()
    secret = mounted(tmp_path / "secret", OUTPUT=uri, ENDPOINT=ENDPOINT)
    words = " ".join([*KEYS.values(), KEYS["AZURE_STORAGE_SAS_TOKEN"].rpartition("=")[2]])
    (tmp_path / "torch.py").write_text(LIBRARY.format(server=ENDPOINT, uri=uri, words=words.replace("{", "")))
    run = {
        "job": edited({"spec.output.uri": uri}),
        "runId": "r",
        "credentials": [{"prefix": "hf://", "folder": str(secret)}],
    }
    file = tmp_path / "run.json"
    file.write_text(Run.model_validate(run).model_dump_json(by_alias=True, exclude_none=True))
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "kubetune_trainer", str(file)],
        env={**os.environ, "PYTHONPATH": paths, "AWS_ENDPOINT_URL": ENDPOINT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for told in (done.stdout, done.stderr):
        assert f"ValueError: The server {ENDPOINT} of {uri} was sent: ***" in told
        assert not shows_a_secret(told)
