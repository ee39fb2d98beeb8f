"""One run of a job as the trainer gets it, and where its files lie in object storage."""

from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel
from kubetune_api.job import FineTuneJob

MANIFEST = "manifest.json"
"""Written last, and only if it is not there yet: readers take it as the commit."""


class Run(ApiModel):
    """A job, resolved: what the trainer needs beyond the manifest."""

    job: FineTuneJob
    run_id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][-a-z0-9]{0,62}$")]
    """The uid of the job in a cluster; made up by a local run."""
    execution: Annotated[int, Field(ge=1)] = 1
    """Which start of the run this is. Each claims its number and writes under its own folder only."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """The number of ranks. Unset: one per accelerator that there is, or one."""

    @property
    def root(self) -> str:
        """The URI of the run's folder, without a slash at its end."""
        metadata = self.job.metadata
        return f"{self.job.spec.output.uri.rstrip('/')}/{metadata.namespace}/{metadata.name}/{self.run_id}"

    @property
    def claim(self) -> str:
        """The object, relative to `root`, whose conditional creation makes this execution the owner of its number."""
        return f"executions/{self.execution}.json"

    def folder(self, *, rejected: bool) -> str:
        """The folder of this execution's files, relative to `root`."""
        return f"{'rejected/' if rejected else ''}executions/{self.execution}"

    def manifest_path(self, *, rejected: bool) -> str:
        """The manifest that commits the run, relative to `root`."""
        return f"{'rejected/' if rejected else ''}{MANIFEST}"
