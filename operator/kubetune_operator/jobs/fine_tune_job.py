"""FineTuneJob, as a kind that the machinery reconciles."""

from collections.abc import Callable
from datetime import datetime

from kubetune_api.profile import profile_name
from kubetune_api.reasons import Reason
from kubetune_api.status import FineTuneJobStatus
from kubetune_operator.jobs import names
from kubetune_operator.jobs.events import transitions_of
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB, FINE_TUNE_PROFILE, RAY_CLUSTER, RAY_JOB
from kubetune_operator.jobs.metrics import JobMetrics
from kubetune_operator.jobs.observed import JobView, Observed, ProfileView, job_view, profile_view
from kubetune_operator.jobs.reconcile import reconcile, refused_creation
from kubetune_operator.jobs.reports import own_report, report_question
from kubetune_operator.jobs.state import finished
from kubetune_operator.jobs.views import namespace_labels, pod_view, ray_cluster_view, ray_job_view
from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.entries import UNREAD, Entry, ObjectKey, Watched, all_are
from kubetune_operator.machinery.events import Transition
from kubetune_operator.machinery.kinds import (
    CONFIG_MAP,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    Object,
)
from kubetune_operator.machinery.labels import OwnerLabels
from kubetune_operator.machinery.logs import object_log
from kubetune_operator.machinery.plan import Plan
from kubetune_operator.settings import Settings


class FineTuneJobs:
    """The reconciler of FineTuneJobs."""

    kind = FINE_TUNE_JOB
    noun = "job"
    labels = OwnerLabels(names.JOB_UID, names.JOB)
    owns = (
        Watched(RAY_JOB, ray_job_view),
        Watched(RAY_CLUSTER, ray_cluster_view),
        Watched(POD, pod_view, lingers=lambda pod: pod.failed),
        Watched(CONFIG_MAP, own_report, large=True, applied=True),
        *(Watched(kind, applied=True) for kind in (ROLE, ROLE_BINDING)),
        Watched(SERVICE_ACCOUNT, applied=True, shared=names.is_shared_account),
        Watched(NETWORK_POLICY, applied=True, shared=names.is_network_policy),
    )
    reads = (
        Watched(FINE_TUNE_PROFILE, profile_view, shared=all_are),
        Watched(NAMESPACE, namespace_labels, shared=all_are),
    )
    throttled = frozenset({"progress", "checkpoint", "summary", "workers", "readyWorkers", "message", "conditions"})

    def __init__(self, metrics: JobMetrics, *, kuberay: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._kuberay = kuberay
        """Whether the cluster knows RayJobs."""

    def view(self, obj: Object) -> JobView:
        """A job as it is kept."""
        return job_view(obj)

    def concerns(self, subject: JobView, entry: Entry) -> bool:
        """Its profile, its namespace, and what the jobs of that share; as long as it is not at rest."""
        if subject.suspended or finished(subject.status):
            return False
        if entry.kind == FINE_TUNE_PROFILE.name:
            return subject.parsed is not None and profile_name(subject.parsed) == entry.name
        return subject.namespace == (entry.name if entry.kind == NAMESPACE.name else entry.namespace)

    def observe(self, cache: Cache, key: ObjectKey) -> Observed | None:
        """The job and all that was heard of it."""
        job: JobView | None = cache.subject(key)
        if job is None:
            return None
        own, answers = cache.owned(job), cache.answers.good(key)
        reports = (CONFIG_MAP.name, names.reports(job.name, job.uid))
        report = next((entry.view for entry in own if (entry.kind, entry.name) == reports), None)
        asked = report_question(job.name, job.uid)
        wanted = profile_name(job.parsed) if job.parsed else ""
        profile = cache.find(FINE_TUNE_PROFILE.name, "", wanted)
        namespace = cache.find(NAMESPACE.name, "", job.namespace)
        used: ProfileView = profile.view if profile else ProfileView()
        return Observed(
            job=job,
            profile=used.profile,
            profile_error=used.error,
            namespace_labels=namespace.view if namespace else None,
            ray_jobs=tuple(entry.view for entry in own if entry.kind == RAY_JOB.name),
            ray_clusters=tuple(entry.view for entry in own if entry.kind == RAY_CLUSTER.name),
            pods=tuple(entry.view for entry in own if entry.kind == POD.name),
            report=next(iter(answers.get(asked) or ()), None) if report is UNREAD else report,
            unread=(asked,) if report is UNREAD and asked not in answers else (),
            existing={
                (entry.kind, entry.name): entry.object
                for entry in (*own, *cache.shared(job.namespace))
                if entry.object is not None
            },
            kuberay=self._kuberay(),
            answers=answers,
        )

    def reconcile(self, seen: Observed, settings: Settings, now: datetime) -> Plan[FineTuneJobStatus]:
        """What should be there now."""
        return reconcile(seen, settings, now)

    def refused(self, seen: Observed, error: str, now: datetime) -> FineTuneJobStatus:
        """The status of a job whose RayJob the API server refuses, or what that needs."""
        return refused_creation(seen, error, now)

    def record(self, seen: Observed, status: FineTuneJobStatus) -> None:
        """Counts what the change implies, and logs a new phase or reason."""
        job, before = seen.job, seen.job.status
        self._metrics.observe_transition(job.namespace, before, status)
        if status.reason == Reason.DOES_NOT_FIT != before.reason:
            self._metrics.planner_refused()
        if (before.phase, before.reason) != (status.phase, status.reason):
            attempt = status.attempts[-1].number if status.attempts else None
            log = object_log(self.noun, job.namespace, job.name, attempt=attempt)
            log.info("%s (%s): %s", status.phase, status.reason, status.message)

    def events(self, seen: Observed, status: FineTuneJobStatus) -> list[Transition]:
        """What has become of the job."""
        return transitions_of(seen.job.status, status)
