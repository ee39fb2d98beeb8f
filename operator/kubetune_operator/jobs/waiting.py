"""What a job waits for, in one sentence: composed from queue, pods, images and the trainer's own word.

KubeRay calls a RayJob `Running` as soon as it has made the Job that submits the run, whatever becomes of that one's
pod. A job runs once its driver does.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kubetune_api.profile import profile_name
from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt
from kubetune_api.times import moment
from kubetune_operator.jobs.below import queue_says, refusal, refusal_of_cluster
from kubetune_operator.jobs.failures import head_lives, who, workers_ready
from kubetune_operator.jobs.nodes import avoiding
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.stuck import foreign, held
from kubetune_operator.jobs.verdict import stuck_in
from kubetune_operator.jobs.views import PodView, RayJobView

_DRIVER_SEEN = ("RUNNING", "SUCCEEDED", "FAILED", "STOPPED")
"""What Ray says of a driver that runs, or ran."""
_APART = timedelta(seconds=120)
"""How long a worker may look for a head that is ready before the status says that something keeps them apart."""
_WAITS = (Reason.WAITING_FOR_QUOTA, Reason.WAITING_FOR_NODES, Reason.WAITING_FOR_PODS)


@dataclass(frozen=True)
class AttemptState:
    """The state of an attempt that has a RayJob."""

    reason: str
    message: str
    admitted: bool = True
    """Whether its quota is granted: KubeRay may make pods."""
    running: bool = False
    """Whether the trainer runs."""
    unexplained: bool = False
    """Whether something is missing, and nothing that is seen says why."""


def driver_runs(seen: Observed, ray_job: RayJobView, attempt: Attempt) -> bool:
    """Whether the driver was seen to run: by Ray, or by its own report. Once a queue has taken its hardware away, the
    report may be that of the time before."""
    if ray_job.suspended or ray_job.deployment != "Running":
        return False
    reports = seen.report_of(attempt.number) is not None and attempt.ran_seconds == 0
    return attempt.running_time is not None or ray_job.job in _DRIVER_SEEN or reports


def apart_at(attempt: Attempt) -> datetime | None:
    """From when on a worker has looked for the head for longer than one does that finds it."""
    since = attempt.stuck_time if attempt.stuck_reason == Reason.HEAD_UNREACHABLE else None
    return None if since is None else moment(since) + _APART


def attempt_state(seen: Observed, ray_job: RayJobView, attempt: Attempt, workers: int, now: datetime) -> AttemptState:
    """The state of the attempt; while it waits, also whether its profile has changed since it was made."""
    state = _state(seen, ray_job, attempt, workers, now)
    if state.reason == Reason.WAITING_FOR_NODES:
        goes_on = attempt.stuck_reason == Reason.FEWER_WORKERS
        fewer = "; after ten minutes it goes on with those that have one" if goes_on else ""
        state = replace(state, message=f"{state.message}{fewer}{avoiding(attempt)}")
    if state.reason not in _WAITS or not _is_outdated(seen, ray_job):
        return state
    return replace(
        state,
        message=f"{state.message}; profile {profile_name(seen.job.job)} has changed since this attempt was created from"
        " it; to use it as it is now, set spec.suspend to true, then to false",
    )


def _is_outdated(seen: Observed, ray_job: RayJobView) -> bool:
    made_from, now = ray_job.profile_digest, seen.profile and seen.profile.digest
    return bool(made_from and now) and made_from != now


def _state(seen: Observed, ray_job: RayJobView, attempt: Attempt, workers: int, now: datetime) -> AttemptState:
    if ray_job.suspended:
        return _suspended(seen, ray_job)
    if ray_job.terminal:
        ran = attempt.running_time is not None or ray_job.job in _DRIVER_SEEN
        return AttemptState(Reason.CLEANING_UP, "the run has ended; waits for its final report", running=ran)
    runs = driver_runs(seen, ray_job, attempt)
    if attempt.head_gone_time is not None:
        state = _running(seen, attempt.number) if runs else AttemptState(Reason.WAITING_FOR_PODS, "")
        gone = f"the head has been missing since {attempt.head_gone_time}; KubeRay has a minute to end the run"
        return replace(state, message=gone)
    if runs:
        return _running(seen, attempt.number)
    pods = seen.pods_of(attempt.number)
    apart = stuck_in(attempt, pods).get(attempt.stuck_pod or "") if (at := apart_at(attempt)) and now >= at else None
    waits = _before_the_driver(seen, ray_job, pods, workers)
    return replace(waits, message=f"{waits.message}; {apart.message}") if apart else waits


def _before_the_driver(seen: Observed, ray_job: RayJobView, pods: tuple[PodView, ...], workers: int) -> AttemptState:
    submitted = ray_job.deployment == "Running"
    refused = _refused(seen, ray_job, _missing(pods, workers, submitted=submitted))
    return refused or _unscheduled(pods) or _blocked(pods) or _starting(pods, workers, submitted=submitted)


def _suspended(seen: Observed, ray_job: RayJobView) -> AttemptState:
    queue = seen.job.job.spec.queue_name
    if queue is None:
        said = f"somebody suspended the RayJob {ray_job.name}; it continues when its spec.suspend is false again"
        return AttemptState(Reason.WAITING_FOR_QUOTA, said, admitted=False)
    said = queue_says(seen, ray_job) or "; `kubectl describe workloads` says how much is free"
    return AttemptState(
        Reason.WAITING_FOR_QUOTA, f"waits in queue {queue} for quota{said}", admitted=False, unexplained=True
    )


def _missing(pods: tuple[PodView, ...], workers: int, *, submitted: bool) -> list[str]:
    """The pods that should exist and do not."""
    ranks, head = sum(pod.workers for pod in pods if pod.lives), head_lives(pods)
    submits = submitted or (head and workers_ready(pods) >= workers)
    return [
        *([] if head else ["the head"]),
        *([] if ranks >= workers else [f"{workers - ranks} of {workers} workers"]),
        *(["the submitter"] if submits and not any(pod.role == "submitter" for pod in pods) else []),
    ]


def _refused(seen: Observed, ray_job: RayJobView, missing: list[str]) -> AttemptState | None:
    of_cluster = missing != ["the submitter"]
    words = refusal(seen, ray_job, of_cluster=of_cluster) if missing else ""
    if not words:
        return None
    return AttemptState(
        Reason.CREATION_REFUSED,
        f"no pod can be made for {' and '.join(missing)}: {words}; the platform team must mend what refuses it (a"
        " quota, a LimitRange, a policy, a webhook, a ServiceAccount); the job then continues",
        unexplained=not (of_cluster and refusal_of_cluster(seen, ray_job)),
    )


def _running(seen: Observed, attempt: int) -> AttemptState:
    report = seen.report_of(attempt)
    if report is None:
        return AttemptState(Reason.STARTING, "the trainer starts", running=True)
    if report.progress is None:
        return AttemptState(Reason.STARTING, report.doing or "the trainer starts", running=True)
    return AttemptState(Reason.TRAINING, report.doing or "trains", running=True)


def _unscheduled(pods: tuple[PodView, ...]) -> AttemptState | None:
    without = [pod for pod in pods if pod.unscheduled is not None]
    if not without:
        return None
    return AttemptState(
        Reason.WAITING_FOR_NODES,
        f"{len(without)} of {len(pods)} pods wait for a node, among them {who(without[0])}: {without[0].unscheduled}",
    )


def _blocked(pods: tuple[PodView, ...]) -> AttemptState | None:
    for pod in pods:
        if waiting := held(pod):
            said = f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
            whose = "" if waiting.ours else f" because of {foreign(waiting.container)}"
            return AttemptState(Reason.WAITING_FOR_PODS, f"{who(pod)} cannot start{whose}: {said}")
    return None


def _starting(pods: tuple[PodView, ...], workers: int, *, submitted: bool) -> AttemptState:
    if not pods:
        return AttemptState(Reason.WAITING_FOR_PODS, "waits for KubeRay to create the pods", unexplained=True)
    head = any(pod.role == "head" and pod.ready for pod in pods)
    ready = workers_ready(pods)
    if not head or ready < workers:
        return AttemptState(
            Reason.WAITING_FOR_PODS,
            f"{ready} of {workers} workers are ready{'' if head else f', and the head {_is_not(pods)}'}"
            f"{_preparing(pods)}{_held_up(pods)}",
            unexplained=bool(_missing(pods, workers, submitted=submitted)),
        )
    if not submitted:
        # Where KubeRay may not make the submitter's Job, its events alone say so.
        return AttemptState(Reason.STARTING, "all workers are ready; waits for Ray to accept the run", unexplained=True)
    submitters = [pod for pod in pods if pod.role == "submitter"]
    if not submitters:
        return AttemptState(
            Reason.WAITING_FOR_PODS,
            "all workers are ready; waits for the pod of the submitter, which does not exist",
            unexplained=True,
        )
    if not any(pod.phase == "Running" for pod in submitters):
        return AttemptState(
            Reason.WAITING_FOR_PODS, f"all workers are ready; waits for {who(submitters[0])}{_preparing(pods)}"
        )
    return AttemptState(Reason.STARTING, "all pods run; waits for Ray to start the driver")


def _is_not(pods: tuple[PodView, ...]) -> str:
    return "is not" if head_lives(pods) else "does not exist"


def _preparing(pods: tuple[PodView, ...]) -> str:
    creating = [pod for pod in pods if any(waiting.reason == "ContainerCreating" for waiting in pod.waiting)]
    for pod in creating:
        if pod.prepared is False:
            needs = f", which need the Secrets {', '.join(pod.secrets)}" if pod.secrets else ""
            return f"; {who(pod)} waits for its network and its volumes{needs}"
    fetching = sum(pod.prepared is True for pod in creating)
    return f"; {fetching} of {len(pods)} pods fetch their image" if fetching else ""


def _held_up(pods: tuple[PodView, ...]) -> str:
    """A pod is ready once all of its containers are, those of others too."""
    for pod in pods:
        if pod.unready and not pod.ready:
            return f"; {who(pod)} waits for {foreign(pod.unready[0])}, to be ready"
    return ""
