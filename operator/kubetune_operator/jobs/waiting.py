"""What a job waits for, in one sentence: composed from queue, pods, images and the trainer's own word."""

from dataclasses import dataclass, replace

from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.views import PodView, RayJobView


@dataclass(frozen=True)
class AttemptState:
    """The state of an attempt that has a RayJob."""

    reason: str
    message: str
    admitted: bool = True
    """Whether its quota is granted: KubeRay may make pods."""
    running: bool = False
    """Whether the trainer runs."""


def attempt_state(seen: Observed, ray_job: RayJobView, attempt: Attempt, workers: int) -> AttemptState:
    """The state of the attempt."""
    if ray_job.suspended:
        return AttemptState(Reason.WAITING_FOR_QUOTA, _suspended(seen.job.job.spec.queue_name, ray_job), admitted=False)
    if ray_job.terminal:
        return AttemptState(
            Reason.CLEANING_UP, "the run has ended; waits for its final report", running=bool(ray_job.job)
        )
    if ray_job.deployment == "Running":
        state = _running(seen, attempt.number)
        if attempt.head_gone_time is None:
            return state
        return replace(
            state,
            message=f"the head has been missing since {attempt.head_gone_time}; KubeRay has a minute to end the run",
        )
    pods = seen.pods_of(attempt.number)
    return _unscheduled(pods) or _blocked(pods) or _starting(pods, workers)


def _suspended(queue: str | None, ray_job: RayJobView) -> str:
    if queue is None:
        return f"somebody suspended the RayJob {ray_job.name}; it continues when its spec.suspend is false again"
    return f"waits in queue {queue} for quota; `kubectl describe workloads` says how much is free"


def workers_ready(pods: tuple[PodView, ...]) -> int:
    """The ranks in pods that are ready."""
    return sum(pod.workers for pod in pods if pod.ready and not pod.deleting)


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
        f"{len(without)} of {len(pods)} pods wait for a node: {without[0].unscheduled}",
    )


def _blocked(pods: tuple[PodView, ...]) -> AttemptState | None:
    for pod in pods:
        for waiting in pod.waiting:
            if waiting.reason not in ("ContainerCreating", "PodInitializing"):
                said = f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
                return AttemptState(Reason.WAITING_FOR_PODS, f"the {pod.role} {pod.name} cannot start: {said}")
    return None


def _starting(pods: tuple[PodView, ...], workers: int) -> AttemptState:
    if not pods:
        return AttemptState(Reason.WAITING_FOR_PODS, "waits for KubeRay to create the pods")
    head = any(pod.role == "head" and pod.ready for pod in pods)
    ready = workers_ready(pods)
    if head and ready >= workers:
        return AttemptState(Reason.STARTING, "all workers are ready; waits for Ray to accept the run")
    return AttemptState(
        Reason.WAITING_FOR_PODS,
        f"{ready} of {workers} workers are ready{'' if head else ', and the head is not'}{_preparing(pods)}",
    )


def _preparing(pods: tuple[PodView, ...]) -> str:
    creating = [pod for pod in pods if any(waiting.reason == "ContainerCreating" for waiting in pod.waiting)]
    for pod in creating:
        if pod.prepared is False:
            needs = f", which need the Secrets {', '.join(pod.secrets)}" if pod.secrets else ""
            return f"; the {pod.role} {pod.name} waits for its network and its volumes{needs}"
    fetching = sum(pod.prepared is True for pod in creating)
    return f"; {fetching} of {len(pods)} pods fetch their image" if fetching else ""
