"""Everything that a decision about one job may look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from kubetune_api.job import QUEUE_LABEL, FineTuneJob
from kubetune_api.profile import FineTuneProfile
from kubetune_api.run_report import RunReport
from kubetune_api.status import Attempt, FineTuneJobStatus
from kubetune_api.times import moment
from kubetune_operator.jobs.state import finished
from kubetune_operator.jobs.views import PodView, RayClusterView, RayJobView
from kubetune_operator.machinery.kinds import Object
from kubetune_operator.machinery.questions import Answer, Question


@dataclass(frozen=True)
class JobView:
    """A FineTuneJob as it is in the cluster."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool
    queue_label: str | None
    """The queue that Kueue's label on the job names."""
    parsed: FineTuneJob | None
    """None if this version of kubetune cannot read it, or where it is at rest and so is not needed."""
    error: str
    """Why it cannot be read."""
    suspended: bool
    """Whether it is suspended, and no attempt of it is to be ended any more."""
    kept_seconds: int | None
    """`ttlSecondsAfterFinished`."""
    readable: bool
    """Whether this version of kubetune can read the status; if not, the job is left alone."""
    status: FineTuneJobStatus
    """Of this job's own run; empty where another's is stored."""
    stored_status: Object
    """What is stored."""

    @property
    def job(self) -> FineTuneJob:
        """The job, which could be read."""
        assert self.parsed is not None
        return self.parsed

    @property
    def attempt(self) -> Attempt | None:
        """The current attempt."""
        return self.status.attempts[-1] if self.status.attempts else None


@dataclass(frozen=True)
class Observed:
    """A job and all that was heard of it."""

    job: JobView
    profile: FineTuneProfile | None = None
    profile_error: str = ""
    """Why the profile that is there cannot be read."""
    namespace_labels: Mapping[str, str] | None = field(default_factory=dict)
    """None while the namespace is not known."""
    ray_jobs: tuple[RayJobView, ...] = ()
    ray_clusters: tuple[RayClusterView, ...] = ()
    pods: tuple[PodView, ...] = ()
    report: RunReport | None = None
    unread: tuple[Question, ...] = ()
    """What asks for the report, where it was heard of before the job, and so not read."""
    existing: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    """The other objects that the operator made for the job or its namespace, by kind and name."""
    kuberay: bool = True
    """Whether the cluster knows RayJobs."""
    answers: Mapping[Question, Answer] = field(default_factory=dict)
    """What was asked for it."""

    def ray_job(self, name: str) -> RayJobView | None:
        """The RayJob of that name."""
        return next((ray_job for ray_job in self.ray_jobs if ray_job.name == name), None)

    def pods_of(self, attempt: int) -> tuple[PodView, ...]:
        """The pods of an attempt."""
        return tuple(pod for pod in self.pods if pod.attempt == attempt)

    def report_of(self, attempt: int) -> RunReport | None:
        """What an attempt reports. Where a queue took its hardware and gave it some again, the execution that still
        saves itself on the old one has no say any more."""
        report, known = self.report, self.job.attempt
        if report is None or report.attempt != attempt:
            return None
        newest = known.execution if known is not None and known.number == attempt else None
        return None if newest and report.execution and report.execution < newest else report


@dataclass(frozen=True)
class ProfileView:
    """A FineTuneProfile as it is in the cluster."""

    profile: FineTuneProfile | None = None
    error: str = ""
    """Why it cannot be read, where it is there."""


def job_view(obj: Object) -> JobView:
    """A FineTuneJob as the API server gives it; one that this version cannot read says why."""
    metadata, stored = obj["metadata"], obj.get("status") or {}
    parsed, error, readable = None, "", True
    try:
        status = FineTuneJobStatus.model_validate(stored)
    except ValidationError:
        # A newer version wrote it. To act without it, or to write over it, would lose its attempts.
        status, stored, readable = FineTuneJobStatus(), FineTuneJobStatus().to_dict(), False
    if status.run not in (None, metadata["uid"]) and not finished(status):
        # Restored under another UID: that run, its objects and its folder are not this job's, which begins its own.
        status = FineTuneJobStatus()
    try:
        body = {key: value for key, value in obj.items() if key != "status"}
        parsed = FineTuneJob.model_validate(body)
    except ValidationError as invalid:
        error = _sentence(invalid)
    over, open_attempt = finished(status), any(attempt.completion_time is None for attempt in status.attempts[-1:])
    suspended = parsed is not None and parsed.spec.suspend and not open_attempt
    return JobView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        created_at=moment(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        queue_label=(metadata.get("labels") or {}).get(QUEUE_LABEL),
        # A cluster has many jobs that are over or suspended, each as large as its tenant likes.
        parsed=None if over or suspended else parsed,
        error=error,
        suspended=suspended,
        kept_seconds=parsed.spec.ttl_seconds_after_finished if parsed else None,
        readable=readable,
        status=status,
        stored_status=stored,
    )


def profile_view(obj: Object) -> ProfileView:
    """A FineTuneProfile as the API server gives it."""
    try:
        return ProfileView(FineTuneProfile.model_validate(obj))
    except ValidationError as error:
        return ProfileView(error=_sentence(error))


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    return f"{path}: {first['msg']}" if path else str(first["msg"])
