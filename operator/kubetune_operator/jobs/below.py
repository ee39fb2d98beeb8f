"""What lies below a RayJob says of it, where no watch tells: why pods are not made, why a queue does not admit it, and
whether a RayJob that went out of sight is gone. Pure.

KubeRay and Kubernetes tell of most refusals in events alone. They are asked for once something has been missing for
some seconds, and not by each look: a namespace may have many.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt
from kubetune_api.times import moment
from kubetune_operator.jobs import names
from kubetune_operator.jobs.kinds import RAY_JOB, WORKLOADS
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.views import PodView, RayJobView, pod_view, ray_job_view
from kubetune_operator.machinery.kinds import EVENT, POD, Object
from kubetune_operator.machinery.questions import NO_ANSWER, Question

PATIENCE = timedelta(seconds=3)
"""How long something may be missing before anybody is asked why."""
_LEAST_SECONDS, _MOST_SECONDS = 30.0, 600.0
"""How long an answer is good: the longer a job has waited, the longer, for thousands may wait for the same thing."""


@dataclass(frozen=True)
class EventView:
    """An event that warns."""

    kind: str
    """Of the object that it is about."""
    note: str
    at: datetime


def event_view(event: Object) -> EventView:
    """An event as the API server has it; of one that came again, its last time."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"), event.get("eventTime"))
    at = next(filter(None, times), event["metadata"]["creationTimestamp"])
    return EventView((event.get("regarding") or {}).get("kind", ""), event.get("note", ""), moment(at))


def workload_view(workload: Object) -> str:
    """Why Kueue does not admit a Workload; empty where it says nothing."""
    conditions = {found["type"]: found for found in workload.get("status", {}).get("conditions") or []}
    held = (conditions.get(kind, {}) for kind in ("QuotaReserved", "Admitted"))
    return next((condition["message"] for condition in held if condition.get("status") == "False"), "")


def whereabouts(attempt: Attempt) -> Question:
    """Whether there is a RayJob of the attempt's name: one whose labels somebody changed is not gone."""
    return Question(RAY_JOB, ray_job_view, name=attempt.ray_job)


def with_hidden(seen: Observed, attempt: Attempt) -> Observed:
    """The same sight with the attempt's RayJob and head, where the API server tells of them by their names alone."""
    told = seen.answers.get(whereabouts(attempt)) or ()
    hidden = [replace(ray_job, attempt=attempt.number, hidden=True) for ray_job in told]
    found = [ray_job for ray_job in hidden if ray_job.uid == attempt.ray_job_uid]
    heads = [replace(pod, attempt=attempt.number, role="head") for pod in _hidden_heads(seen, attempt)]
    return replace(seen, ray_jobs=(*seen.ray_jobs, *found), pods=(*seen.pods, *heads))


def doubts(seen: Observed, attempt: Attempt, ray_job: RayJobView | None) -> tuple[Question, ...]:
    """What is to be known by its name before it is taken for deleted, and is not known yet."""
    asked = [whereabouts(attempt)] if ray_job is None and attempt.ray_job_uid else []
    asked += _heads_whereabouts(seen, attempt) if attempt.head_gone_time else []
    return tuple(question for question in asked if question not in seen.answers)


def _hidden_heads(seen: Observed, attempt: Attempt) -> list[PodView]:
    told = [pod for question in _heads_whereabouts(seen, attempt) for pod in seen.answers.get(question) or ()]
    known = [pod.name for pod in seen.pods_of(attempt.number) if pod.role == "head"]
    return [pod for pod in told if pod.name not in known]


def _heads_whereabouts(seen: Observed, attempt: Attempt) -> list[Question]:
    """Whether the head is there that KubeRay knows."""
    names_of_heads = [cluster.head for cluster in seen.ray_clusters if cluster.attempt == attempt.number]
    return [Question(POD, pod_view, fields=f"metadata.name={name}") for name in names_of_heads if name]


def refusal(seen: Observed, ray_job: RayJobView, *, of_cluster: bool) -> str:
    """Why a pod is not made, of the cluster or the submitter's, in the API server's words; empty where nobody says."""
    if of_cluster and (said := refusal_of_cluster(seen, ray_job)):
        return said
    told = [event for question in _events(ray_job) for event in seen.answers.get(question) or ()]
    makers = ("RayJob", "RayCluster" if of_cluster else "Job")
    warnings = [event for event in told if event.kind in makers and event.note]
    return max(warnings, key=lambda event: event.at).note if warnings else ""


def refusal_of_cluster(seen: Observed, ray_job: RayJobView) -> str:
    """The same, where the RayCluster says it."""
    return next((cluster.refusal for cluster in seen.ray_clusters if cluster.name == ray_job.cluster), "")


def _events(ray_job: RayJobView, holds: float = _LEAST_SECONDS) -> tuple[Question, ...]:
    """The warnings about a RayJob and the Job of its submitter, which has the same name, and about its RayCluster."""
    return tuple(
        Question(
            EVENT,
            event_view,
            fields=f"regarding.name={name},type=Warning",
            holds_seconds=holds,
            optional=True,
        )
        for name in (ray_job.name, ray_job.cluster)
        if name
    )


def queue_says(seen: Observed, ray_job: RayJobView) -> str:
    """What Kueue says of a RayJob that waits, as the end of a sentence; empty where that is nothing."""
    told = (seen.answers.get(question, NO_ANSWER) for question in _workloads(ray_job))
    answers = [answer for answer in told if answer is not NO_ANSWER]
    known = [answer for answer in answers if answer is not None]
    if len(answers) == len(WORKLOADS) and not known:
        return (
            ", but the cluster has no Kueue, or the operator may not list its Workloads; the platform team must mend it"
        )
    if known and not any(known):
        return (
            ", but Kueue has made no Workload for it; the platform team must turn on Kueue's integration"
            " `ray.io/rayjob`, and let it manage the namespace"
        )
    words = next((words for answer in known for words in answer if words), "")
    shows = f"; `kubectl get localqueues -n {seen.job.namespace}` shows the queues that are there"
    return f"; Kueue says: {words}{shows if 'LocalQueue' in words else ''}" if words else ""


def questions(
    seen: Observed, attempt: Attempt, ray_job: RayJobView, reason: str | None, now: datetime
) -> tuple[tuple[Question, ...], float | None]:
    """What is asked of an attempt that waits for this reason, which nothing explains that is seen, and in how many
    seconds to look again."""
    if ray_job.hidden or any(map(seen.answers.get, _heads_whereabouts(seen, attempt))):
        return (whereabouts(attempt),) if ray_job.hidden else (), whereabouts(attempt).holds_seconds
    if reason is None:
        return (), None
    status = seen.job.status
    since = moment(status.reason_since_time) if status.reason == reason and status.reason_since_time else now
    if now < since + PATIENCE and Reason.CREATION_REFUSED not in (reason, status.reason):
        return (), (since + PATIENCE - now).total_seconds()
    holds = min(max(_LEAST_SECONDS, (now - since).total_seconds()), _MOST_SECONDS)
    if reason == Reason.WAITING_FOR_QUOTA:  # who is admitted is heard of at once
        first, *others = _workloads(ray_job, holds)
        return (first, *(others if seen.answers.get(first, ()) is None else ())), None
    return _events(ray_job, holds), holds


def out_of_sight(seen: Observed, ray_job: RayJobView) -> str:
    """What to do about a RayJob that is hidden, as the end of a sentence."""
    if not ray_job.hidden:
        return ""
    own = " ".join(f"{key}={value}" for key, value in names.labels_of(seen.job.name, seen.job.uid).items())
    return (
        f"; somebody changed the labels of the RayJob {ray_job.name}, so that its changes are seen late: kubectl label"
        f" rayjob {ray_job.name} -n {seen.job.namespace} --overwrite {own}"
    )


def _workloads(ray_job: RayJobView, holds: float = _LEAST_SECONDS) -> tuple[Question, ...]:
    selector = f"kueue.x-k8s.io/job-uid={ray_job.uid}"
    return tuple(
        Question(kind, workload_view, selector=selector, holds_seconds=holds, optional=True) for kind in WORKLOADS
    )
