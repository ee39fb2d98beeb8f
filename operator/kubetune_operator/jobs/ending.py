"""What follows once a job is over: its hardware is given back, and after a while what is left of it goes."""

from dataclasses import replace
from datetime import datetime, timedelta

from kubetune_api.reasons import TRAINER_FAILURES
from kubetune_api.status import FineTuneJobStatus
from kubetune_api.times import moment, timestamp
from kubetune_operator.jobs import names
from kubetune_operator.jobs.kinds import RAY_CLUSTER
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.plans import JobPlan, ray_jobs, ref_of
from kubetune_operator.jobs.state import JobState, holds, observed, with_state, without_hardware
from kubetune_operator.machinery.kinds import CONFIG_MAP, ROLE, ROLE_BINDING
from kubetune_operator.machinery.plan import Plan, Ref

_LINGERING = timedelta(seconds=120)
"""How long the cluster of a finished job may take to end by itself."""


def over(seen: Observed, status: FineTuneJobStatus, state: JobState, now: datetime) -> JobPlan:
    """The end. What still runs goes; after a failure a cluster that has ended stays for a minute, for its logs."""
    status = status.model_copy(update={"completion_time": timestamp(now)})
    done = with_state(status, replace(state, admitted=_holds_hardware(seen)), seen.job.generation, now)
    return after_the_end(replace(seen, job=replace(seen.job, status=done)), now)


def after_the_end(seen: Observed, now: datetime) -> JobPlan:
    """What is to be done for a job that is over."""
    status, ended = seen.job.status, _end_of(seen.job.status, now)
    status = observed(status if _holds_hardware(seen) else without_hardware(status, now), seen.job.generation)
    moments = [ended + _LINGERING] if any(not ray_job.terminal for ray_job in seen.ray_jobs) else []
    delete = (*_not_ended(seen, status, now), *_needless(seen, status))
    kept = seen.job.kept_seconds
    if kept is not None:
        moments.append(ended + timedelta(seconds=kept))
        if now >= moments[-1]:
            delete = (*_needless(seen, status), *ray_jobs(seen), *_leftovers(seen))
    coming = [(at - now).total_seconds() for at in moments if at > now]
    return Plan(status, delete=delete, again_after=min(coming, default=None))


def _not_ended(seen: Observed, status: FineTuneJobStatus, now: datetime) -> tuple[Ref, ...]:
    """The RayJobs of a finished job that still hold hardware. A trainer that sent its final report is about to end, and
    its log is read meanwhile; what would not end by itself goes at once."""
    last = status.attempts[-1] if status.attempts else None
    ends = last is not None and last.reason in TRAINER_FAILURES and last.head_gone_time is None
    patience = _LINGERING if holds(status, "Succeeded") or ends else timedelta(0)
    if now < _end_of(status, now) + patience:
        return ()
    return tuple(ref_of(ray_job) for ray_job in seen.ray_jobs if not ray_job.terminal and not ray_job.deleting)


def _holds_hardware(seen: Observed) -> bool:
    """Whether anything of the Ray cluster is left; the submitter's pod has ended with the run."""
    pods = [pod for pod in seen.pods if pod.role != "submitter" and pod.phase in ("Pending", "Running")]
    return bool(seen.ray_clusters or pods)


def _needless(seen: Observed, status: FineTuneJobStatus) -> tuple[Ref, ...]:
    """The clusters that a success leaves: their hardware is another's at once, and the submitter has the log."""
    ended = [ray_job.cluster for ray_job in seen.ray_jobs if ray_job.terminal] if holds(status, "Succeeded") else []
    clusters = [cluster for cluster in seen.ray_clusters if cluster.name in ended and not cluster.deleting]
    return tuple(Ref(RAY_CLUSTER, cluster.name, cluster.uid) for cluster in clusters)


def _end_of(status: FineTuneJobStatus, now: datetime) -> datetime:
    return moment(status.completion_time) if status.completion_time else now


def _leftovers(seen: Observed) -> tuple[Ref, ...]:
    """What belongs to the job alone; what its namespace shares stays."""
    own = {CONFIG_MAP.name: CONFIG_MAP, ROLE.name: ROLE, ROLE_BINDING.name: ROLE_BINDING}
    return tuple(
        Ref(own[kind], name, obj["metadata"]["uid"])
        for (kind, name), obj in seen.existing.items()
        if kind in own and obj["metadata"].get("labels", {}).get(names.JOB_UID) == seen.job.uid
    )
