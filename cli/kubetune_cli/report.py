"""`kubetune report`: fetches the report of a job from object storage, through the trainer's own doorway to it."""

import subprocess
import sys
import webbrowser
from pathlib import Path

from kubetune_api.schemes import FILE, scheme_of
from kubetune_api.status import Artifact
from kubetune_cli.jobs import Cluster, Job, NothingToShowError, Tell, find


def fetch(cluster: Cluster, name: str, file: Path | None) -> Path:
    """Saves the report of a job; returns where. NothingToShowError says why there is none."""
    job = find(cluster, name)
    artifact = published(job)
    uri, manifest = artifact.report_uri, (f"--manifest={artifact.manifest_uri}", f"--digest={artifact.digest}")
    target = (file or Path(f"{job.name}-report.html")).absolute()
    done = subprocess.run(
        # `--` and `=`: the URIs are a tenant's, and must not be read as options.
        [sys.executable, "-m", "kubetune_trainer.fetch", *manifest, "--", uri, str(target)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise NothingToShowError(done.stderr.strip() or "The trainer ended without a message.")
    return target


def published(job: Job) -> Artifact:
    """What the job published, which has a report; NothingToShowError says why there is none."""
    artifact = job.status.artifact
    if artifact is None:
        when = "a run that publishes no model leaves none" if job.ended else "it is published with the model"
        raise NothingToShowError(f"{job.name} has no report; {when}. {job.state}")
    if scheme_of(artifact.report_uri) == FILE:
        raise NothingToShowError(
            f"The report of {job.name} is at {artifact.report_uri}, on the disk of the machine that ran it; look there."
        )
    return artifact


def open_in_browser(file: Path, tell: Tell) -> None:
    """Shows the report."""
    if not webbrowser.open(file.as_uri()):
        tell("There is no browser here to open it with.")
