"""The one decision of the operator: from everything that was seen of a job to what should be there now. Pure.

Whatever happened before, and wherever an earlier process stopped, the same sight gives the same plan.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt, FineTuneJobStatus, Phase
from kubetune_api.times import timestamp
from kubetune_operator.jobs.attempts import (
    ended,
    final_message,
    new_attempt,
    next_at,
    ray_job_of,
    timed,
    when_to_look,
    will_retry,
    with_end,
    with_evidence,
)
from kubetune_operator.jobs.below import doubts, out_of_sight, questions, with_hidden
from kubetune_operator.jobs.checkpoints import has_saved, unsaved, with_report, without_failures
from kubetune_operator.jobs.ending import after_the_end, over
from kubetune_operator.jobs.failures import Failure, policy, workers_ready
from kubetune_operator.jobs.fewer_workers import of_size, ran_out_as_fewer, with_placed, workers_after, workers_of
from kubetune_operator.jobs.guards import no_head_runs, no_pod_is_left
from kubetune_operator.jobs.history import earlier_reasons, failed_attempts, with_attempt
from kubetune_operator.jobs.micro_batches import held_to, may_be_smaller, with_what_it_took
from kubetune_operator.jobs.nodes import with_all_nodes, with_failed_node
from kubetune_operator.jobs.objects.access import head_account
from kubetune_operator.jobs.objects.ray_job import ray_job as ray_job_object
from kubetune_operator.jobs.objects.run import run_config
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.plans import JobPlan, in_state, ray_jobs, ref_of
from kubetune_operator.jobs.resolve import Refused, Resolved, fitted, resolve, settings_of
from kubetune_operator.jobs.state import JobState, finished, with_state
from kubetune_operator.jobs.support import support, support_while_it_runs
from kubetune_operator.jobs.verdict import Verdict, verdict_on
from kubetune_operator.jobs.views import RayJobView
from kubetune_operator.jobs.waiting import AttemptState, attempt_state
from kubetune_operator.machinery.differences import trimmed
from kubetune_operator.machinery.kinds import CONFIG_MAP
from kubetune_operator.machinery.plan import Plan, Ref
from kubetune_operator.settings import Settings

_SUSPENDED_BY_SPEC = Verdict(Failure(Reason.SUSPENDED, "spec.suspend is true"))


def reconcile(seen: Observed, settings: Settings, now: datetime) -> JobPlan:
    """What should be there now."""
    if seen.job.deleting or not seen.job.readable:
        return Plan(seen.job.status)
    if finished(seen.job.status):  # whatever its spec looks like to this version
        return after_the_end(seen, now)
    known = seen.job.attempt
    told = with_report(seen.job.status, seen.report_of(known.number) if known else None)
    seen = replace(seen, job=replace(seen.job, status=told))
    job = seen.job
    if job.suspended:
        return replace(_suspended(seen, now, with_all_nodes(told)), delete=ray_jobs(seen))
    if job.parsed is None:
        return _refused(seen, Refused(Reason.INVALID_MANIFEST, job.error), now)
    resolved = resolve(job.job, seen.profile, seen.namespace_labels, settings, seen.profile_error, job.queue_label)
    attempt = job.attempt
    if attempt is not None and attempt.completion_time is None:
        return _during(seen, attempt, resolved, settings, now)
    if isinstance(resolved, Refused):
        return _refused(seen, resolved, now)
    if not seen.kuberay:
        return in_state(seen, _without_kuberay(), now, again_after=10)
    if attempt is not None:
        waits = _before_the_next(seen, attempt, now)
        if waits is not None:
            return waits
    fitting = fitted(of_size(resolved, workers_after(attempt)))
    return _refused(seen, fitting, now) if isinstance(fitting, Refused) else _begin(seen, fitting, settings, now)


def _begin(seen: Observed, resolved: Resolved, settings: Settings, now: datetime) -> JobPlan:
    status, attempt = seen.job.status, new_attempt(seen.job, resolved.deadline, now)
    begun = with_attempt(status, attempt, now).model_copy(
        update={
            "start_time": status.start_time or timestamp(now),
            "run": seen.job.uid,
            "data": None,
            "progress": None,
            "checkpoint": without_failures(status.checkpoint),
            "metrics": [],
            "primary_metric": None,
            "artifact": None,
        }
    )
    plan = _create(seen, begun, attempt, resolved, settings, now)
    return plan if seen.job.attempt is None else replace(plan, guards=(no_pod_is_left(seen.job),))


def _create(
    seen: Observed, status: FineTuneJobStatus, attempt: Attempt, resolved: Resolved, settings: Settings, now: datetime
) -> JobPlan:
    state = JobState("Pending", Reason.STARTING, f"attempt {attempt.number} is being created")
    if status.reason == Reason.CREATION_REFUSED:  # until it is no longer refused
        state = JobState("Pending", Reason.CREATION_REFUSED, status.message or "")
    resolved = replace(held_to(resolved, attempt), avoided_nodes=tuple(attempt.avoided_nodes))
    chosen = {"workers": resolved.workers, "ready_workers": 0, "resolved": settings_of(resolved)}
    status = status.model_copy(update=chosen)
    job = replace(seen.job, status=status)  # as it will be when the same objects are planned again
    return Plan(
        with_state(status, state, seen.job.generation, now),
        apply=(*support(seen, resolved, settings, head_account(resolved)), run_config(job, resolved, attempt.number)),
        create=ray_job_object(job, resolved, attempt.number),
        again_after=10,
    )


def _during(
    seen: Observed, attempt: Attempt, resolved: Resolved | Refused, settings: Settings, now: datetime
) -> JobPlan:
    seen = with_hidden(seen, attempt)
    ray_job = ray_job_of(seen, attempt)
    attempt = with_evidence(seen, attempt, ray_job, now)
    report = seen.report_of(attempt.number)
    asked = (*seen.unread, *(doubts(seen, attempt, ray_job) if seen.kuberay else ()))
    if asked:
        return Plan(seen.job.status, again_after=1, questions=asked)
    if ray_job is None and attempt.ray_job_uid is None and report is None:
        return _not_yet_created(seen, attempt, resolved, settings, now)
    if ray_job is None and not seen.kuberay and (report is None or report.finished is None):
        # Where RayJobs are not served, that none is seen says nothing.
        return in_state(seen, _without_kuberay(), now, again_after=10)
    verdict = verdict_on(seen, attempt, ray_job, settings, now)
    if verdict is not None and verdict.questions:
        return Plan(seen.job.status, again_after=1, questions=verdict.questions)
    if verdict is not None:
        plan = _concluded(seen, attempt, verdict, now)
        return replace(plan, guards=(no_head_runs(seen.job, attempt.number),)) if verdict.headless else plan
    assert ray_job is not None
    if seen.job.job.spec.suspend:
        return _concluded(seen, attempt, _SUSPENDED_BY_SPEC, now)
    return _goes_on(seen, attempt, ray_job, resolved, settings, now)


def _not_yet_created(
    seen: Observed, attempt: Attempt, resolved: Resolved | Refused, settings: Settings, now: datetime
) -> JobPlan:
    if seen.job.job.spec.suspend:
        return _concluded(seen, attempt, _SUSPENDED_BY_SPEC, now)
    if isinstance(resolved, Refused):
        return _refused(seen, resolved, now)
    if not seen.kuberay:
        return in_state(seen, _without_kuberay(), now, again_after=10)
    if seen.pods or seen.ray_clusters:
        return in_state(seen, _outlived(seen, attempt), now, again_after=10)
    fitting = fitted(of_size(resolved, attempt.workers))
    if isinstance(fitting, Refused):
        return _refused(seen, fitting, now)
    plan = _create(seen, seen.job.status, attempt, fitting, settings, now)
    outdated = _outdated_run(seen, attempt, plan)
    return replace(plan, apply=(), create=None, delete=outdated, again_after=1) if outdated else plan


def _outlived(seen: Observed, attempt: Attempt) -> JobState:
    left = [*(pod.name for pod in seen.pods), *(cluster.name for cluster in seen.ray_clusters)]
    return JobState(
        "Pending", Reason.CLEANING_UP, f"the RayJob {attempt.ray_job} is gone; waits until {left[0]} is gone, too"
    )


def _outdated_run(seen: Observed, attempt: Attempt, plan: JobPlan) -> tuple[Ref, ...]:
    """The run of an attempt that stopped before its RayJob was there, where profile or operator changed since: it is
    immutable, so it goes first."""
    wanted = next(obj for obj in plan.apply if obj["metadata"]["name"] == attempt.ray_job)
    there = seen.existing.get((CONFIG_MAP.name, attempt.ray_job))
    if there is None or there.get("data") == trimmed(wanted)["data"]:
        return ()
    return (Ref(CONFIG_MAP, attempt.ray_job, there["metadata"]["uid"]),)


def _goes_on(
    seen: Observed,
    attempt: Attempt,
    ray_job: RayJobView,
    resolved: Resolved | Refused,
    settings: Settings,
    now: datetime,
) -> JobPlan:
    workers = workers_of(seen)
    state = attempt_state(seen, ray_job, attempt, workers, now)
    attempt = timed(attempt, state, now)
    report = seen.report_of(attempt.number)
    status = seen.job.status.model_copy(
        update={
            "attempts": [*seen.job.status.attempts[:-1], attempt],
            "data": report.data if report else seen.job.status.data,
            "progress": report.progress if report else seen.job.status.progress,
            "workers": workers,
            "ready_workers": min(workers_ready(seen.pods_of(attempt.number)), workers),
        }
    )
    message = "; ".join(filter(None, (state.message, unsaved(status)))) + out_of_sight(seen, ray_job)
    job_state = JobState(_phase(state), state.reason, message, admitted=state.admitted)
    asked, ask_after = questions(seen, attempt, ray_job, state.reason if state.unexplained else None, now)
    return Plan(
        with_state(status, job_state, seen.job.generation, now),
        apply=support_while_it_runs(seen, ray_job, resolved, settings) if isinstance(resolved, Resolved) else (),
        delete=tuple(ref_of(other) for other in seen.ray_jobs if other.uid != ray_job.uid and not other.deleting),
        again_after=min(filter(None, (when_to_look(seen, attempt, settings, now), ask_after)), default=None),
        questions=asked,
    )


def _phase(state: AttemptState) -> Phase:
    return "Running" if state.running else "Admitted" if state.admitted else "Pending"


def _concluded(seen: Observed, attempt: Attempt, verdict: Verdict, now: datetime) -> JobPlan:
    """The attempt is over: the job too, or another attempt follows."""
    reason, message = verdict.reason, verdict.message
    report = seen.report_of(attempt.number)
    attempt = with_what_it_took(seen, attempt, reason)
    attempt = with_failed_node(attempt, reason, message, seen.pods_of(attempt.number))
    attempt = with_placed(attempt, reason, seen.pods_of(attempt.number))
    follows = policy(
        reason,
        earlier_reasons(seen.job.status),
        saved=has_saved(report),
        smaller=may_be_smaller(seen.job.job.spec, attempt),
        fewer=ran_out_as_fewer(attempt, reason),
    )
    last = ended(attempt, verdict, now, exempt=follows.exempt and verdict.failure is not None)
    status = with_report(with_end(seen.job, last, verdict.result), report)
    if verdict.failure is None:
        return over(seen, status, JobState("Succeeded", reason, message), now)
    if reason == Reason.SUSPENDED:
        return replace(_suspended(seen, now, status), delete=ray_jobs(seen))
    if follows.retry and (follows.exempt or failed_attempts(status) < seen.job.job.spec.retry.max_attempts):
        plan = in_state(seen, will_retry(seen, last, status), now, again_after=1, status=status)
        return replace(plan, delete=ray_jobs(seen))
    return over(seen, status, JobState("Failed", reason, final_message(message, status)), now)


def _suspended(seen: Observed, now: datetime, status: FineTuneJobStatus | None = None) -> JobPlan:
    status = status or seen.job.status
    left = len([pod for pod in seen.pods if pod.role != "submitter"])
    message = (
        f"suspended; {left} of its pods are still ending" if left else "suspended; set spec.suspend: false to resume"
    )
    return in_state(seen, JobState("Suspended", Reason.SUSPENDED, message), now, again_after=None, status=status)


def _before_the_next(seen: Observed, last: Attempt, now: datetime) -> JobPlan | None:
    """What there is to wait for before the next attempt; None if nothing."""
    if seen.ray_jobs or seen.pods or seen.ray_clusters:
        left = [*(pod.name for pod in seen.pods), *(cluster.name for cluster in seen.ray_clusters)] or [last.ray_job]
        state = JobState(
            "Pending",
            Reason.CLEANING_UP,
            f"attempt {last.number} ended ({last.reason}: {last.message}); the next one waits until {left[0]}"
            + (f" and {len(left) - 1} more are gone" if len(left) > 1 else " is gone"),
        )
        return replace(in_state(seen, state, now, again_after=10), delete=ray_jobs(seen))
    wait = next_at(seen, last, seen.job.status) - now
    if wait > timedelta(0):
        return in_state(seen, will_retry(seen, last, seen.job.status), now, again_after=wait.total_seconds())
    return None


def refused_creation(seen: Observed, error: str, now: datetime) -> FineTuneJobStatus:
    """The status of a job of which the API server refuses to create something."""
    state = JobState(
        "Pending",
        Reason.CREATION_REFUSED,
        f"{error}; the platform team must fix this (quota, policy, webhook, permissions, KubeRay 1.6 or newer); the job"
        " then continues",
    )
    return with_state(seen.job.status, state, seen.job.generation, now)


def _refused(seen: Observed, refused: Refused, now: datetime) -> JobPlan:
    return in_state(seen, JobState("Pending", refused.reason, refused.message, refused=True), now, again_after=None)


def _without_kuberay() -> JobState:
    return JobState(
        "Pending",
        Reason.KUBERAY_MISSING,
        "the cluster does not know RayJobs; the platform team must install KubeRay 1.6 or newer; the job then"
        " continues",
    )
