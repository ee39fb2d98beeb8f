"""One run of a job as the trainer gets it, and where its files lie in object storage."""

from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Uri
from kubetune_api.job import FineTuneJob

RUN_ID = r"^[a-z0-9][-a-z0-9]{0,62}$"
"""What the id of a run looks like."""
MANIFEST = "manifest.json"
"""The manifest that commits a run, relative to its root: written last, and only if it is not there yet. It says itself
whether the model was rejected, so that of two executions only one ends the run, whatever each has found."""
EXECUTIONS = "executions"
"""The folder of the executions of a run, relative to its root."""
MODEL = "model"
"""The folder of the model, relative to that of the execution."""


def run_root(job: FineTuneJob, run_id: str) -> str:
    """The URI of the folder of a run, without a slash at its end."""
    return f"{job.spec.output.uri.rstrip('/')}/{job.metadata.namespace}/{job.metadata.name}/{run_id}"


class MountedSecret(ApiModel):
    """The credentials for a part of object storage, as files."""

    prefix: Uri
    """The URIs that they open; of several, the longest that fits."""
    folder: Annotated[str, StringConstraints(max_length=1024)]
    """A folder with one file a key, named as the standard environment variable."""


class ReportTo(ApiModel):
    """The ConfigMap that a run in a cluster reports to."""

    namespace: Annotated[str, StringConstraints(max_length=63)]
    name: Annotated[str, StringConstraints(max_length=253)]


class Run(ApiModel):
    """A job, resolved: what the trainer needs beyond the manifest."""

    job: FineTuneJob
    run_id: Annotated[str, StringConstraints(pattern=RUN_ID)]
    """The uid of the job in a cluster; made up by a local run."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Which try of the operator this is."""
    execution: Annotated[int, Field(ge=1)] | None = None
    """Which start of the run this is. Each claims its number and writes under its own folder only. Unset until the
    lowest free one was claimed."""
    resumes: bool = False
    """Whether an earlier execution must be there; otherwise this one may be the first."""
    saves_by_default: bool = False
    """Whether nobody asked for the job's checkpoints: where they are of another training, it begins anew."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """The number of ranks. Unset: one per accelerator that there is, or one."""
    needs_gpu: bool = False
    """Whether each worker is to have a GPU, as the profile says: the run ends where one has none."""
    scratch_bytes: Annotated[int, Field(ge=1)] | None = None
    """What each pod may have on its disk in all, as the profile says. Unset: what there is room for."""
    credentials: Annotated[list[MountedSecret], Field(max_length=64)] = Field([])
    """What opens which part of object storage. Elsewhere the standard environment variables count."""
    allowed_storage_accounts: Annotated[
        list[Annotated[str, StringConstraints(max_length=24)]], Field(max_length=16)
    ] = Field([])
    """The Azure storage accounts that a Secret may name. Empty: any."""
    allowed_uri_prefixes: Annotated[list[Uri], Field(max_length=64)] = Field([])
    """Where what a file of the run names must lie, such as the base of an adapter. Empty: anywhere."""
    ambient_credentials: bool = True
    """Whether a store that no Secret opens is opened by the environment, or by what the machine's cloud gives."""
    mean_seconds_between_interruptions: Annotated[float, Field(gt=0.0, le=1e9)] | None = None
    """How long the attempts of this job ran on average before they lost their hardware; from it follows how often an
    interval that is left open saves. Unset: not known."""
    signing_key: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """The file with the private key that signs the model, on the machine of the driver. Unset: it is not signed."""
    report_to: ReportTo | None = None
    """Where a run in a cluster reports its progress and its end."""

    @property
    def root(self) -> str:
        """The URI of the run's folder, without a slash at its end."""
        return run_root(self.job, self.run_id)

    @property
    def claim(self) -> str:
        """The object, relative to `root`, whose conditional creation makes this execution the owner of its number."""
        return f"{EXECUTIONS}/{self.claimed}.json"

    @property
    def claimed(self) -> int:
        """The number of the execution, which has one."""
        assert self.execution is not None, "the execution was not claimed yet"
        return self.execution

    @property
    def folder(self) -> str:
        """The folder of this execution's files, relative to `root`."""
        return f"{EXECUTIONS}/{self.claimed}"
