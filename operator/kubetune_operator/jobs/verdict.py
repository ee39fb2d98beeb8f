"""Whether an attempt is over, and how."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from kubetune_api.reasons import TRAINER_FAILURES, Reason
from kubetune_api.run import MANIFEST, run_root
from kubetune_api.status import Attempt, FineTuneJobStatus
from kubetune_api.times import moment
from kubetune_api.uris import lies_below
from kubetune_operator.jobs.checkpoints import saving_seconds
from kubetune_operator.jobs.failures import Failure, counting, head_ended, head_lives, seen_in, stronger
from kubetune_operator.jobs.fewer_workers import PATIENCE, without_nodes, workers_of
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.running_times import running_seconds
from kubetune_operator.jobs.stuck import stuck_pods, untold, with_cause
from kubetune_operator.jobs.views import PodView, RayClusterView, RayJobView
from kubetune_operator.machinery.questions import Question
from kubetune_operator.settings import Settings

GRACE = timedelta(seconds=10)
"""How long after its RayJob was seen to be over the final report of an attempt may still arrive."""
_HEAD_GRACE = timedelta(seconds=60)
"""How long after its head went away an attempt may still end by itself."""

UNREACHED = timedelta(seconds=420)
"""The least that a worker gets to reach a head that is ready: KubeRay looks for it with a fifth of a core, and that a
node died the cluster says only after some 350 seconds, in which its pods look as before."""


@dataclass(frozen=True)
class Verdict:
    """How an attempt ended."""

    failure: Failure | None = None
    """None: its model is published."""
    result: FineTuneJobStatus | None = None
    """What the trainer said at its end: the artifact, be it published or rejected, and its metrics."""
    headless: bool = False
    """Whether it ended because its head is gone. KubeRay would not end it, and the head may only be out of sight."""
    questions: tuple[Question, ...] = ()
    """What is asked before it counts. All else that may have ended the attempt was looked at before."""

    @property
    def reason(self) -> str:
        """Why it ended, as a constant."""
        return self.failure.reason if self.failure else Reason.PUBLISHED

    @property
    def message(self) -> str:
        """Why it ended, as a sentence."""
        return self.failure.message if self.failure else "The model is verified and published."


def verdict_on(
    seen: Observed,
    attempt: Attempt,
    ray_job: RayJobView | None,
    settings: Settings,
    now: datetime,
) -> Verdict | None:
    """None while the attempt goes on."""
    pods, provisional = seen.pods_of(attempt.number), noted(attempt)
    report = seen.report_of(attempt.number)
    if report is not None and report.finished is not None:
        taken_back = ray_job is not None and ray_job.suspended
        return _by_report(seen, report.finished, stronger(_TAKEN_BACK, provisional) if taken_back else provisional)
    if ray_job is None or ray_job.deleting:
        return Verdict(stronger(Failure(Reason.ATTEMPT_DELETED, _DELETED), provisional))
    deadline = attempt.deadline_seconds
    if deadline is not None and running_seconds(seen.job.status, attempt, now) >= deadline:
        return Verdict(Failure(Reason.DEADLINE_EXCEEDED, f"the attempts ran longer than {deadline} seconds together"))
    if ray_job.terminal:
        return _by_ray_job(seen, ray_job, attempt, now)
    if attempt.head_gone_time is not None:
        # What a pod shows now counts at once: what was kept of an earlier one may have been overcome.
        if provisional is not None and seen_in(counting(pods, workers_of(seen))) is not None:
            return Verdict(provisional, headless=True)
        if now >= moment(attempt.head_gone_time) + head_grace(seen, attempt):
            return Verdict(stronger(_headless(attempt, pods), provisional), headless=True)
    return _by_stuck_pod(seen, attempt, settings, now)


_DELETED = "the RayJob of the attempt was deleted by somebody else"
_HEAD_DELETED = "the head's pod disappeared during the run, as if somebody had deleted it"
# The pods of a cluster end one after the other: what the trainer says of it by then is no error of the run.
_TAKEN_BACK = Failure(Reason.PREEMPTED, "the queue took the hardware of the attempt for another job")


def head_grace(seen: Observed, attempt: Attempt) -> timedelta:
    """How long after its head went away an attempt may still end by itself: a head that ends may wait for a save."""
    if seen.job.job.spec.checkpoints_in_a_cluster is None or not any(map(_ends, seen.pods_of(attempt.number))):
        return _HEAD_GRACE
    return _HEAD_GRACE + timedelta(seconds=saving_seconds(seen.job.status))


def _ends(pod: PodView) -> bool:
    return pod.role == "head" and pod.deleting and pod.phase == "Running"


def runs_without_head(
    ray_job: RayJobView, pods: tuple[PodView, ...], clusters: tuple[RayClusterView, ...] = ()
) -> bool:
    """Whether the driver is gone for good, or will never come, and KubeRay says nothing of it. It makes no second head
    once all pods were ready, and may never tell: a submitter whose head went without closing its connection waits for
    it for ever, and none is made for a cluster that is not ready any more."""
    was_ready = any(cluster.provisioned for cluster in clusters if cluster.name == ray_job.cluster)
    begun = ray_job.deployment == "Running" or (ray_job.deployment == "Initializing" and was_ready)
    return begun and not ray_job.suspended and not head_lives(pods)


def _headless(attempt: Attempt, pods: tuple[PodView, ...]) -> Failure:
    waited = f"KubeRay has not ended the run in {_HEAD_GRACE.total_seconds():.0f} seconds"
    if head_ended(attempt.evidence) or any(pod.role == "head" and not _ends(pod) for pod in pods):
        return Failure(Reason.UNKNOWN, f"the head ended without a report of the trainer, and {waited}")
    return Failure(Reason.INTERRUPTED, f"{_HEAD_DELETED}; {waited}")


def noted(attempt: Attempt) -> Failure | None:
    """What was seen so far of the attempt's end; the pods may be gone by then."""
    return Failure(attempt.reason, attempt.message or "") if attempt.reason else None


def _by_stuck_pod(seen: Observed, attempt: Attempt, settings: Settings, now: datetime) -> Verdict | None:
    if not _waited_enough(attempt, settings, now):
        return None
    pods = with_cause(seen, attempt)
    failure = {**without_nodes(seen, attempt, pods), **stuck_in(attempt, pods)}.get(attempt.stuck_pod or "")
    return Verdict(failure, questions=untold(seen, attempt)) if failure else None


def _waited_enough(attempt: Attempt, settings: Settings, now: datetime) -> bool:
    until = stuck_until(attempt, settings)
    return until is not None and now >= until


def stuck_until(attempt: Attempt, settings: Settings) -> datetime | None:
    """When a pod that cannot start ends the attempt."""
    if attempt.stuck_time is None:
        return None
    if attempt.stuck_reason == Reason.FEWER_WORKERS:
        return moment(attempt.stuck_time) + PATIENCE
    least = UNREACHED if attempt.stuck_reason == Reason.HEAD_UNREACHABLE else timedelta(0)
    return moment(attempt.stuck_time) + max(timedelta(seconds=settings.stuck_seconds), least)


def stuck_in(attempt: Attempt, pods: tuple[PodView, ...]) -> dict[str, Failure]:
    """The attempt's pods that cannot start, and why. A registry may be away for a moment, and a Secret may come a
    little later, so that ends nothing at once; what containers of others do ends no run that has begun."""
    return stuck_pods(pods, begun=attempt.running_time is not None)


def _by_report(seen: Observed, result: FineTuneJobStatus, provisional: Failure | None) -> Verdict:
    artifact = result.artifact
    root = run_root(seen.job.job, seen.job.uid)
    if artifact is not None and not all(
        lies_below(uri, root) for uri in (artifact.uri, artifact.manifest_uri, artifact.report_uri)
    ):
        return Verdict(Failure(Reason.UNKNOWN, f"the report names an artifact that is not below {root}"))
    ends = {condition.type: condition for condition in result.conditions if condition.status == "True"}
    if "Succeeded" in ends and artifact is not None and not artifact.rejected:
        return Verdict(result=result)
    failed = ends.get("Failed")
    if failed is None:
        return Verdict(Failure(Reason.UNKNOWN, "the trainer's report says neither that it succeeded nor why it failed"))
    reason = failed.reason if failed.reason in TRAINER_FAILURES else Reason.UNKNOWN
    return Verdict(stronger(Failure(reason, failed.message), provisional), result)


def _by_ray_job(seen: Observed, ray_job: RayJobView, attempt: Attempt, now: datetime) -> Verdict | None:
    said = ": ".join(filter(None, (ray_job.reason, ray_job.message)))
    if ray_job.deployment == "ValidationFailed":
        return Verdict(Failure(Reason.KUBERAY_REFUSED, f"KubeRay refuses the RayJob: {said}"))
    if attempt.ray_job_ended_time is None or now < moment(attempt.ray_job_ended_time) + GRACE:
        return None
    if ray_job.job == "SUCCEEDED":
        # A trainer ends so only after it has published, whatever became of its pods then.
        manifest = f"{run_root(seen.job.job, seen.job.uid)}/{MANIFEST}"
        sentence = f"the trainer succeeded, but its report did not arrive; its model is published if {manifest} exists"
        return Verdict(Failure(Reason.REPORT_LOST, sentence))
    says = f"KubeRay says: {said or ray_job.deployment}."
    if _lost_its_head(seen, attempt):
        return Verdict(stronger(Failure(Reason.INTERRUPTED, f"{_HEAD_DELETED}; {says}"), noted(attempt)))
    silent = Failure(
        Reason.UNKNOWN,
        f"the trainer ended without a report; {says} `kubetune logs` shows the end of its log while its pods exist",
    )
    return Verdict(stronger(silent, noted(attempt)))


def _lost_its_head(seen: Observed, attempt: Attempt) -> bool:
    """Whether the head was gone before the end. KubeRay takes one away that ended by itself; those that were alive at
    the end it leaves as long as their RayCluster.
    """
    if attempt.running_time is None or head_ended(attempt.evidence):
        return False
    kept = any(cluster.attempt == attempt.number for cluster in seen.ray_clusters)
    return kept and not any(pod.role == "head" for pod in seen.pods_of(attempt.number))
