"""Jobs and pods of a cluster as the commands see them, and what a command asks of a cluster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import ValidationError

from kubetune_api.labels import ATTEMPT, ROLE
from kubetune_api.sentences import closest
from kubetune_api.status import Attempt, FineTuneJobStatus

Object = dict[str, Any]
Pause = Callable[[], None]
"""Waits a little before something is asked again."""
Tell = Callable[[str], None]
"""Says something to the person beside what was asked for."""


class ClusterError(Exception):
    """The cluster could not be asked, or has no such job: exit code 2. The message is a sentence with a remedy."""


class UnreachableError(ClusterError):
    """The cluster does not answer now; it may later."""


class NoSuchJobError(ClusterError):
    """There is no job of that name."""


class NoSuchPodError(ClusterError):
    """The pod is gone."""


class NothingToShowError(Exception):
    """The job is there, and what was asked for is not: exit code 1."""


@dataclass(frozen=True)
class Job:
    """A FineTuneJob in a cluster."""

    namespace: str
    name: str
    uid: str
    version: str
    """Its `resourceVersion`."""
    created: str
    status: FineTuneJobStatus
    raw_status: Object = field(repr=False)
    """The status as the server holds it."""

    @classmethod
    def parse(cls, found: Object) -> "Job":
        """Takes a job from the API server; ClusterError if a later kubetune wrote its status."""
        metadata, status = found["metadata"], found.get("status") or {}
        try:
            parsed = FineTuneJobStatus.model_validate(status)
        except ValidationError as invalid:
            error = invalid.errors()[0]
            raise ClusterError(
                f"The status of {metadata['name']} cannot be read: {'.'.join(map(str, error['loc']))}: {error['msg']};"
                " install the kubetune that the cluster has, or read it with kubectl get ftj -o yaml."
            ) from None
        return cls(
            metadata["namespace"],
            metadata["name"],
            metadata["uid"],
            metadata["resourceVersion"],
            metadata["creationTimestamp"],
            parsed,
            status,
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def attempt(self) -> Attempt | None:
        """The current attempt."""
        return self.status.attempts[-1] if self.status.attempts else None

    @property
    def state(self) -> str:
        """Where it is and why, in one line: `Pending: 3 of 8 workers are ready.`"""
        status = self.status
        if status.phase is None:
            return "No operator has handled it yet; check that kubetune's operator runs in the cluster."
        reason = f" ({status.reason})" if status.reason else ""
        return f"{status.phase}{reason}: {status.message}" if status.message else f"{status.phase}{reason}"


@dataclass(frozen=True)
class Pod:
    """A pod of a job."""

    namespace: str
    name: str
    uid: str
    created: str
    role: str
    """`head`, `worker` or `submitter`."""
    attempt: int
    container: str
    """The container that speaks for it: that of its role, wherever webhooks put those of others; else the first."""
    phase: str
    waits_for: str | None = None
    """Why the container has never run, as far as is known; None once it has."""

    @classmethod
    def parse(cls, found: Object) -> "Pod | None":
        """Takes a pod from the API server; None if it says of no attempt that it belongs there."""
        metadata, status = found["metadata"], found.get("status") or {}
        labels = metadata.get("labels") or {}
        if not labels.get(ATTEMPT, "").isdecimal() or ROLE not in labels:
            return None
        containers = [container["name"] for container in found["spec"]["containers"]]
        container = labels[ROLE] if labels[ROLE] in containers else containers[0]
        return cls(
            metadata["namespace"],
            metadata["name"],
            metadata["uid"],
            metadata["creationTimestamp"],
            labels[ROLE],
            int(labels[ATTEMPT]),
            container,
            status.get("phase", "Pending"),
            _waits_for(status, container),
        )

    @property
    def has_log(self) -> bool:
        """Whether it wrote something, or could have."""
        return self.waits_for is None

    @property
    def over(self) -> bool:
        """Whether its log is complete."""
        return self.phase in ("Succeeded", "Failed")


def _waits_for(status: Object, container: str) -> str | None:
    """What keeps a container from its first start."""
    seen = {found["name"]: found for found in status.get("containerStatuses") or []}.get(container, {})
    state, before = seen.get("state") or {}, seen.get("lastState") or {}
    if "running" in state or "terminated" in state or "terminated" in before:
        return None
    if waiting := state.get("waiting"):
        return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    unmet = [found for found in status.get("conditions") or [] if found.get("status") == "False" and "message" in found]
    return unmet[0]["message"] if unmet else "it has no node yet"


@dataclass(frozen=True)
class LogLine:
    """A line of a container's log."""

    time: str
    """When it was written, as the node says: texts that sort like times."""
    text: str


class Cluster(Protocol):
    """What the commands ask. Everything raises ClusterError."""

    @property
    def namespace(self) -> str:
        """The namespace that the commands speak of."""

    def jobs(self, *, everywhere: bool = False) -> list[Job]:
        """The jobs of the namespace, or of all, by name."""

    def job(self, name: str) -> Job:
        """A job; NoSuchJobError if there is none."""

    def watch(self, job: Job) -> Iterator[Job]:
        """Each later state of the job, until the server ends the watch or the job is deleted."""

    def pods(self, job: Job) -> list[Pod]:
        """The job's pods that still exist, the oldest first."""

    def log(self, pod: Pod, *, follow: bool = False, tail: int | None = None, since: str = "") -> Iterator[LogLine]:
        """The log of a pod that has started, all of it or its end; NoSuchPodError if the pod is gone.

        `follow` goes on until the container ends. `since` leaves out most of what is older than this time.
        """


def find(cluster: Cluster, name: str) -> Job:
    """The job; if there is none, NoSuchJobError with the name that was probably meant."""
    try:
        return cluster.job(name)
    except NoSuchJobError:
        raise NoSuchJobError(
            f"There is no FineTuneJob {name} in namespace {cluster.namespace}; {_what_is_there(cluster, name)}."
        ) from None


def _what_is_there(cluster: Cluster, name: str) -> str:
    try:
        known = [job.name for job in cluster.jobs()]
    except ClusterError:  # the right to list is not the right to get
        return "check the name, or give another namespace with -n"
    if meant := closest(name, known):
        return f"perhaps `{meant}` is meant"
    if not known:
        return "that has none; give another namespace with -n"
    return "kubetune status lists those that are there, and -n gives another namespace"


def changes(cluster: Cluster, job: Job, pause: Pause) -> Iterator[Job | UnreachableError]:
    """The job and each later state of it, over watches that end or break; outages on the way are told.

    Raises NoSuchJobError when the job is deleted.
    """
    yield job
    while True:
        try:
            for later in cluster.watch(job):
                job = later
                yield job
            pause()
            found = _same(cluster, job)
        except UnreachableError as outage:
            yield outage
            pause()
            continue
        if found.version != job.version:
            job = found
            yield job


def _same(cluster: Cluster, job: Job) -> Job:
    """The job as it is now, if it is still the same."""
    deleted = NoSuchJobError(f"The FineTuneJob {job.name} in namespace {job.namespace} was deleted.")
    try:
        found = cluster.job(job.name)
    except NoSuchJobError:
        raise deleted from None
    if found.uid != job.uid:
        raise deleted
    return found
