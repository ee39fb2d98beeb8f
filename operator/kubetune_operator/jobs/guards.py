"""What the API server itself must say of a job's pods before an attempt begins, or ends for want of its head."""

from functools import partial

from kubetune_operator.jobs import names
from kubetune_operator.jobs.observed import JobView
from kubetune_operator.jobs.views import pod_view
from kubetune_operator.machinery.kinds import POD, Object
from kubetune_operator.machinery.plan import Guard


def no_pod_is_left(job: JobView) -> Guard:
    """Two attempts never run together."""
    return Guard(POD, f"{names.JOB_UID}={job.uid}", f"pod {{name}} of {job.name} is still there")


def no_head_runs(job: JobView, attempt: int) -> Guard:
    """The attempt's number is not in the selector: another label of the pod may have been changed."""
    selector = f"{names.JOB_UID}={job.uid},{names.ROLE}=head"
    return Guard(POD, selector, f"the head of {job.name} runs", partial(_runs, attempt=attempt))


def _runs(pod: Object, attempt: int) -> bool:
    seen = pod_view(pod)
    return seen.attempt == attempt and seen.lives
