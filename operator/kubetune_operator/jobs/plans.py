"""Plans that several decisions make."""

from datetime import datetime

from kubetune_api.status import FineTuneJobStatus
from kubetune_operator.jobs.kinds import RAY_JOB
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.state import JobState, with_state
from kubetune_operator.jobs.views import RayJobView
from kubetune_operator.machinery.plan import Plan, Ref

JobPlan = Plan[FineTuneJobStatus]


def in_state(
    seen: Observed,
    state: JobState,
    now: datetime,
    *,
    again_after: float | None,
    status: FineTuneJobStatus | None = None,
) -> JobPlan:
    """The job is in this state, and nothing else is to be done."""
    return Plan(with_state(status or seen.job.status, state, seen.job.generation, now), again_after=again_after)


def ray_jobs(seen: Observed) -> tuple[Ref, ...]:
    """The RayJobs of the job, to be deleted."""
    return tuple(ref_of(ray_job) for ray_job in seen.ray_jobs if not ray_job.deleting)


def ref_of(ray_job: RayJobView) -> Ref:
    """A RayJob, to be deleted."""
    return Ref(RAY_JOB, ray_job.name, ray_job.uid)
