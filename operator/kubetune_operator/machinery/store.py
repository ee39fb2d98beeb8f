"""What the operator knows of the cluster: the jobs, what belongs to them, and what they may use.

It is filled by what is heard and by the answers to our own writes, whichever is newer, so that a decision never waits
for the echo of the one before.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kubetune_api.job import FineTuneJob
from kubetune_api.profile import FineTuneProfile, profile_name
from kubetune_api.run_report import RunReport
from kubetune_api.status import FineTuneJobStatus
from kubetune_api.times import moment
from kubetune_operator.jobs import names
from kubetune_operator.jobs.observed import JobView, Observed
from kubetune_operator.jobs.reports import report_in
from kubetune_operator.jobs.state import finished
from kubetune_operator.jobs.views import pod_view, ray_cluster_view, ray_job_view
from kubetune_operator.machinery.differences import trimmed
from kubetune_operator.machinery.kinds import Object

_VIEWS: dict[str, Callable[[Object], Any]] = {
    "RayJob": ray_job_view,
    "RayCluster": ray_cluster_view,
    "Pod": pod_view,
}


@dataclass(frozen=True)
class _Known:
    """An object as it was last heard of."""

    kind: str
    namespace: str
    name: str
    version: int
    job_uid: str | None
    job: str | None
    content: Any
    """A view, or the trimmed object."""
    report: RunReport | None = None


class Cache:
    """The cluster, as last heard of. Jobs are named by `namespace/name`."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobView] = {}
        self._profiles: dict[str, tuple[FineTuneProfile | None, str]] = {}
        self._namespaces: dict[str, dict[str, str]] = {}
        self._known: dict[str, _Known] = {}
        """Everything else, by UID."""
        self._of_job: dict[str, dict[str, _Known]] = defaultdict(dict)
        """The same by the job's UID and their own."""
        self._shared: dict[str, dict[str, _Known]] = defaultdict(dict)
        """What belongs to no job, by namespace and UID."""

    def put(self, thing: Object) -> Set[str]:
        """Takes in an object; returns the jobs that it matters to."""
        match thing["kind"]:
            case "FineTuneJob":
                return self._put_job(thing)
            case "FineTuneProfile":
                return self._put_profile(thing)
            case "Namespace":
                return self._put_namespace(thing)
            case _:
                return self._put_other(thing)

    def gone(self, thing: Object) -> Set[str]:
        """Forgets an object; returns the jobs that it mattered to."""
        metadata = thing["metadata"]
        match thing["kind"]:
            case "FineTuneJob":
                return self._job_gone(_key(metadata), metadata["uid"])
            case "FineTuneProfile":
                self._profiles.pop(metadata["name"], None)
                return self._with_profile(metadata["name"])
            case "Namespace":
                self._namespaces.pop(metadata["name"], None)
                return set()
            case _:
                return self._other_gone(metadata["uid"])

    def listed(self, kind: str, uids: Set[str], version: int) -> Set[str]:
        """Forgets what a list of all objects of the kind does not have; returns the jobs that it mattered to.

        Of an object that came and went while the watch was cut, the answer to our own write is all that is ever heard.
        """
        lost = [
            uid
            for uid, known in self._known.items()
            if known.kind == kind and known.version <= version and uid not in uids
        ]
        return {key for uid in lost for key in self._other_gone(uid)}

    def observe(self, key: str, *, kuberay: bool) -> Observed | None:
        """All that matters to a job; None if there is no such job."""
        job = self._jobs.get(key)
        if job is None:
            return None
        # A label is anyone's to set: what lies in another namespace is another tenant's word.
        own = [known for known in self._of_job.get(job.uid, {}).values() if known.namespace == job.namespace]
        reports = ("ConfigMap", names.reports(job.name, job.uid))
        profile, error = self._profiles.get(profile_name(job.job), (None, "")) if job.parsed else (None, "")
        others = [known for known in (*own, *self._shared.get(job.namespace, {}).values()) if known.kind not in _VIEWS]
        return Observed(
            job=job,
            profile=profile,
            profile_error=error,
            namespace_labels=self._namespaces.get(job.namespace, {}),
            ray_jobs=_views(own, "RayJob"),
            ray_clusters=_views(own, "RayCluster"),
            pods=_views(own, "Pod"),
            report=next((known.report for known in own if (known.kind, known.name) == reports), None),
            existing={(known.kind, known.name): known.content for known in others},
            kuberay=kuberay,
        )

    def existing(self, kind: str, namespace: str, name: str, job_uid: str | None) -> Object | None:
        """The trimmed object, if it is known."""
        among = self._of_job.get(job_uid, {}) if job_uid else self._shared.get(namespace, {})
        wanted = (kind, namespace, name)
        found = (known.content for known in among.values() if (known.kind, known.namespace, known.name) == wanted)
        return next(found, None)

    def jobs(self) -> Iterator[JobView]:
        """Every job."""
        return iter(list(self._jobs.values()))

    def names(self) -> list[str]:
        """Every job's name."""
        return list(self._jobs)

    def forget_job(self, key: str, uid: str) -> None:
        """A job that was found to be gone; another one may have its name by now."""
        self._job_gone(key, uid)

    def _put_job(self, thing: Object) -> Set[str]:
        key, before = _key(thing["metadata"]), self._jobs.get(_key(thing["metadata"]))
        version = thing["metadata"]["resourceVersion"]
        # A job of the same name that was made anew has a higher version too.
        if before and int(before.resource_version) >= int(version):
            return set()
        self._jobs[key] = job_view(thing)
        return {key}

    def _job_gone(self, key: str, uid: str) -> Set[str]:
        job = self._jobs.get(key)
        if job is None or job.uid != uid:
            return set()
        del self._jobs[key]
        return {key}

    def _put_profile(self, thing: Object) -> Set[str]:
        name = thing["metadata"]["name"]
        try:
            self._profiles[name] = (FineTuneProfile.model_validate(thing), "")
        except ValidationError as error:
            self._profiles[name] = (None, _sentence(error))
        return self._with_profile(name)

    def _with_profile(self, profile: str) -> Set[str]:
        return {
            key
            for key, job in self._jobs.items()
            if job.parsed and not finished(job.status) and profile_name(job.parsed) == profile
        }

    def _put_namespace(self, thing: Object) -> Set[str]:
        name, labels = thing["metadata"]["name"], thing["metadata"].get("labels", {})
        if self._namespaces.get(name) == labels:
            return set()
        self._namespaces[name] = labels
        return self._in_namespace(name)

    def _in_namespace(self, namespace: str) -> Set[str]:
        return {key for key, job in self._jobs.items() if job.namespace == namespace and not finished(job.status)}

    def _put_other(self, thing: Object) -> Set[str]:
        metadata = thing["metadata"]
        known = _known(thing)
        before = self._known.get(metadata["uid"])
        if before and before.version >= known.version:
            return set()
        # Its labels may have changed, and so whose it is.
        touched = self._other_gone(metadata["uid"]) if before and before.job_uid != known.job_uid else set()
        self._known[metadata["uid"]] = known
        if known.job_uid is None:
            self._shared[known.namespace][metadata["uid"]] = known
        else:
            self._of_job[known.job_uid][metadata["uid"]] = known
        return touched | self._touched_by(known)

    def _other_gone(self, uid: str) -> Set[str]:
        known = self._known.pop(uid, None)
        if known is None:
            return set()
        if known.job_uid is None:
            _remove(self._shared, known.namespace, uid)
        else:
            _remove(self._of_job, known.job_uid, uid)
        return self._touched_by(known)

    def _touched_by(self, known: _Known) -> Set[str]:
        if known.job_uid is None:
            return self._in_namespace(known.namespace)
        return {f"{known.namespace}/{known.job}"}


def job_view(thing: Object) -> JobView:
    """A FineTuneJob as the API server gives it; one that this version cannot read says why."""
    metadata, stored = thing["metadata"], thing.get("status") or {}
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
        body = {key: value for key, value in thing.items() if key != "status"}
        parsed = FineTuneJob.model_validate(body)
    except ValidationError as invalid:
        error = _sentence(invalid)
    return JobView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        created_at=moment(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        parsed=parsed,
        error=error,
        readable=readable,
        status=status,
        stored_status=stored,
    )


def _known(thing: Object) -> _Known:
    metadata, kind = thing["metadata"], thing["kind"]
    labels = metadata.get("labels") or {}
    return _Known(
        kind=kind,
        namespace=metadata["namespace"],
        name=metadata["name"],
        version=int(metadata["resourceVersion"]),
        job_uid=labels.get(names.JOB_UID),
        job=labels.get(names.JOB),
        content=_VIEWS.get(kind, trimmed)(thing),
        report=report_in(thing) if kind == "ConfigMap" else None,
    )


def _views(known: list[_Known], kind: str) -> tuple[Any, ...]:
    return tuple(one.content for one in known if one.kind == kind)


def _remove(among: dict[str, dict[str, _Known]], key: str, uid: str) -> None:
    below = among.get(key, {})
    below.pop(uid, None)
    if not below:
        among.pop(key, None)


def _key(metadata: Object) -> str:
    return f"{metadata['namespace']}/{metadata['name']}"


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    return f"{path}: {first['msg']}" if path else str(first["msg"])
