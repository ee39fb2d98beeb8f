"""The one decision of the operator: from everything that was seen of a job to what should be there now. Pure.

Whatever happened before, and wherever an earlier process stopped, the same sight gives the same plan.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kubetune_api.reasons import TRAINER_FAILURES, Reason
from kubetune_api.status import (
    LONGEST_EVIDENCE,
    LONGEST_OF_ATTEMPT,
    MOST_EVIDENCE,
    Attempt,
    FineTuneJobStatus,
    Metric,
    Phase,
    six_digits,
)
from kubetune_api.times import moment, timestamp
from kubetune_operator.jobs import names
from kubetune_operator.jobs.failures import Failure, evidence_in, policy
from kubetune_operator.jobs.guards import no_head_runs, no_pod_is_left
from kubetune_operator.jobs.history import earlier_reasons, exempt_in_a_row, failed_attempts, with_attempt
from kubetune_operator.jobs.kinds import RAY_JOB
from kubetune_operator.jobs.objects.access import accounts, reporting
from kubetune_operator.jobs.objects.network import network_policies
from kubetune_operator.jobs.objects.ray_job import ray_job as ray_job_object
from kubetune_operator.jobs.objects.run import run_config
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.resolve import Refused, Resolved, fitted, resolve, settings_of
from kubetune_operator.jobs.state import Standing, finished, holds, with_standing
from kubetune_operator.jobs.verdict import (
    GRACE,
    HEAD_GRACE,
    Verdict,
    provisional_failure,
    running_seconds,
    runs_without_head,
    stuck_pods,
    verdict_on,
)
from kubetune_operator.jobs.views import RayJobView
from kubetune_operator.jobs.waiting import Stage, stage_of, workers_ready
from kubetune_operator.machinery.differences import trimmed
from kubetune_operator.machinery.kinds import CONFIG_MAP, ROLE, ROLE_BINDING, Object
from kubetune_operator.machinery.plan import Plan, Ref
from kubetune_operator.settings import Settings

JobPlan = Plan[FineTuneJobStatus]
_LONGEST_BACKOFF = 3600
_SUSPENDED_BY_SPEC = Verdict(Failure(Reason.SUSPENDED, "spec.suspend is true"))
_LINGERING = timedelta(seconds=120)
"""How long the cluster of a finished job may take to end by itself."""


def reconcile(seen: Observed, settings: Settings, now: datetime) -> JobPlan:
    """What should be there now."""
    job, status = seen.job, seen.job.status
    if job.deleting or not job.readable:
        return Plan(status)
    if finished(status):  # whatever its spec looks like to this version
        return _after_the_end(seen, now)
    if job.parsed is None:
        return _refused(seen, Refused(Reason.INVALID_MANIFEST, job.error), now)
    resolved = resolve(job.job, seen.profile, seen.namespace_labels, settings, seen.profile_error)
    attempt = job.attempt
    if attempt is not None and attempt.completion_time is None:
        return _during(seen, attempt, resolved, settings, now)
    if job.job.spec.suspend:
        return replace(_suspended(seen, now), delete=_ray_jobs(seen))
    if isinstance(resolved, Refused):
        return _refused(seen, resolved, now)
    if not seen.kuberay:
        return _stands(seen, _without_kuberay(), now, again_after=10)
    if attempt is not None:
        waits = _before_the_next(seen, attempt, now)
        if waits is not None:
            return waits
    fitting = fitted(resolved)
    return _refused(seen, fitting, now) if isinstance(fitting, Refused) else _begin(seen, fitting, settings, now)


def _begin(seen: Observed, resolved: Resolved, settings: Settings, now: datetime) -> JobPlan:
    last, status = seen.job.attempt, seen.job.status
    number = 1 if last is None else last.number + 1
    name = names.ray_job(seen.job.name, seen.job.uid, number)
    attempt = Attempt(number=number, ray_job=name, start_time=timestamp(now), deadline_seconds=resolved.deadline)
    begun = with_attempt(status, attempt, now).model_copy(
        update={
            "start_time": status.start_time or timestamp(now),
            "run": seen.job.uid,
            "progress": None,
            "metrics": [],
            "primary_metric": None,
            "artifact": None,
        }
    )
    plan = _create(seen, begun, attempt, resolved, settings, now)
    return plan if last is None else replace(plan, guards=(no_pod_is_left(seen.job),))


def _create(
    seen: Observed, status: FineTuneJobStatus, attempt: Attempt, resolved: Resolved, settings: Settings, now: datetime
) -> JobPlan:
    standing = Standing("Pending", Reason.STARTING, f"attempt {attempt.number} is being created")
    if status.reason == Reason.CREATION_REFUSED:  # until it is no longer refused
        standing = Standing("Pending", Reason.CREATION_REFUSED, status.message or "")
    chosen = {"workers": resolved.workers, "ready_workers": 0, "resolved": settings_of(resolved)}
    status = status.model_copy(update=chosen)
    return Plan(
        with_standing(status, standing, seen.job.generation, now),
        apply=(*_support(seen, resolved, settings), run_config(seen.job, resolved, attempt.number)),
        create=ray_job_object(seen.job, resolved, attempt.number),
        again_after=10,
    )


def _support(seen: Observed, resolved: Resolved, settings: Settings) -> tuple[Object, ...]:
    """What an attempt needs besides its own objects."""
    return (
        *accounts(seen.job.namespace),
        *network_policies(seen.job.namespace, resolved.profile, settings),
        *reporting(seen.job, resolved),
    )


def _support_while_it_runs(seen: Observed, resolved: Resolved, settings: Settings) -> tuple[Object, ...]:
    """The same. But the head keeps its right to report: its pod has the account that the profile named at the time."""
    wanted = _support(seen, resolved, settings)
    return tuple(
        thing
        for thing in wanted
        if thing["kind"] != ROLE_BINDING.name or (ROLE_BINDING.name, thing["metadata"]["name"]) not in seen.existing
    )


def _during(
    seen: Observed, attempt: Attempt, resolved: Resolved | Refused, settings: Settings, now: datetime
) -> JobPlan:
    ray_job = _ray_job_of(seen, attempt)
    attempt = _with_evidence(seen, attempt, ray_job, now)
    report = seen.report_of(attempt.number)
    if ray_job is None and attempt.ray_job_uid is None and report is None:
        return _not_yet_created(seen, attempt, resolved, settings, now)
    if ray_job is None and not seen.kuberay and (report is None or report.finished is None):
        # Where RayJobs are not served, that none is seen says nothing.
        return _stands(seen, _without_kuberay(), now, again_after=10)
    verdict = verdict_on(seen, attempt, ray_job, settings, now)
    if verdict is not None:
        plan = _concluded(seen, attempt, verdict, now)
        return replace(plan, guards=(no_head_runs(seen.job, attempt.number),)) if verdict.headless else plan
    assert ray_job is not None
    if seen.job.job.spec.suspend:
        return _concluded(seen, attempt, _SUSPENDED_BY_SPEC, now)
    return _goes_on(seen, attempt, ray_job, resolved, settings, now)


def _ray_job_of(seen: Observed, attempt: Attempt) -> RayJobView | None:
    """Its RayJob, and not another that somebody made under the same name."""
    among = (ray_job for ray_job in seen.ray_jobs if ray_job.name == attempt.ray_job)
    return next((ray_job for ray_job in among if attempt.ray_job_uid in (None, ray_job.uid)), None)


def _not_yet_created(
    seen: Observed, attempt: Attempt, resolved: Resolved | Refused, settings: Settings, now: datetime
) -> JobPlan:
    if seen.job.job.spec.suspend:
        return _concluded(seen, attempt, _SUSPENDED_BY_SPEC, now)
    if isinstance(resolved, Refused):
        return _refused(seen, resolved, now)
    if not seen.kuberay:
        return _stands(seen, _without_kuberay(), now, again_after=10)
    if seen.pods or seen.ray_clusters:
        return _stands(seen, _outlived(seen, attempt), now, again_after=10)
    fitting = fitted(resolved)
    if isinstance(fitting, Refused):
        return _refused(seen, fitting, now)
    plan = _create(seen, seen.job.status, attempt, fitting, settings, now)
    outdated = _outdated_run(seen, attempt, plan)
    return replace(plan, apply=(), create=None, delete=outdated, again_after=1) if outdated else plan


def _outlived(seen: Observed, attempt: Attempt) -> Standing:
    left = [*(pod.name for pod in seen.pods), *(cluster.name for cluster in seen.ray_clusters)]
    return Standing(
        "Pending", Reason.CLEANING_UP, f"the RayJob {attempt.ray_job} is gone; waits until {left[0]} is gone, too"
    )


def _outdated_run(seen: Observed, attempt: Attempt, plan: JobPlan) -> tuple[Ref, ...]:
    """The run of an attempt that stopped before its RayJob was there, where profile or operator changed since: it is
    immutable, so it goes first."""
    wanted = next(thing for thing in plan.apply if thing["metadata"]["name"] == attempt.ray_job)
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
    workers = seen.job.job.spec.resources.workers or 1
    stage = stage_of(seen, ray_job, attempt, workers)
    attempt = _timed(attempt, stage, now)
    report = seen.report_of(attempt.number)
    status = seen.job.status.model_copy(
        update={
            "attempts": [*seen.job.status.attempts[:-1], attempt],
            "progress": report.progress if report else None,
            "workers": workers,
            "ready_workers": min(workers_ready(seen.pods_of(attempt.number)), workers),
        }
    )
    standing = Standing(_phase(stage), stage.reason, stage.message, admitted=stage.admitted)
    return Plan(
        with_standing(status, standing, seen.job.generation, now),
        apply=_support_while_it_runs(seen, resolved, settings) if isinstance(resolved, Resolved) else (),
        delete=tuple(_ref(other) for other in seen.ray_jobs if other.uid != ray_job.uid and not other.deleting),
        again_after=_when_to_look(seen, attempt, ray_job, settings, now),
    )


def _timed(attempt: Attempt, stage: Stage, now: datetime) -> Attempt:
    """Counts the time that the attempt runs; a queue may take its hardware and give it some again."""
    if stage.running and attempt.running_time is None:
        return attempt.model_copy(update={"running_time": timestamp(now)})
    if attempt.running_time is not None and not stage.admitted:
        ran = attempt.ran_seconds + max(0, int((now - moment(attempt.running_time)).total_seconds()))
        return attempt.model_copy(update={"running_time": None, "ran_seconds": ran})
    return attempt


def _phase(stage: Stage) -> Phase:
    return "Running" if stage.running else "Admitted" if stage.admitted else "Pending"


def _when_to_look(
    seen: Observed,
    attempt: Attempt,
    ray_job: RayJobView,
    settings: Settings,
    now: datetime,
) -> float | None:
    """Until the next moment at which time alone ends the attempt."""
    moments = [at for at, _ in stuck_pods(seen.pods_of(attempt.number), settings)]
    if ray_job.terminal:
        moments.append((ray_job.ended_at or ray_job.created_at) + GRACE)
    if attempt.head_gone_time is not None:
        moments.append(moment(attempt.head_gone_time) + HEAD_GRACE)
    if attempt.deadline_seconds is not None and attempt.running_time:
        left = attempt.deadline_seconds - running_seconds([*seen.job.status.attempts[:-1], attempt], now)
        moments.append(now + timedelta(seconds=left))
    return min((max(1.0, (at - now).total_seconds()) for at in moments), default=None)


def _with_evidence(seen: Observed, attempt: Attempt, ray_job: RayJobView | None, now: datetime) -> Attempt:
    """The attempt with all that is seen of it now and may be gone soon."""
    pods, report = seen.pods_of(attempt.number), seen.report_of(attempt.number)
    clusters = [cluster.uid for cluster in seen.ray_clusters if cluster.attempt == attempt.number]
    failure = provisional_failure(attempt, pods)
    headless = ray_job is not None and runs_without_head(ray_job, pods)
    lines = dict.fromkeys([*attempt.evidence, *(line[:LONGEST_EVIDENCE] for line in evidence_in(pods))])
    return attempt.model_copy(
        update={
            "ray_job_uid": ray_job.uid if ray_job else attempt.ray_job_uid,
            "ray_cluster_uid": clusters[-1] if clusters else attempt.ray_cluster_uid,
            "head_gone_time": (attempt.head_gone_time or timestamp(now)) if headless else None,
            "execution": (report.execution if report else None) or attempt.execution,
            "reason": failure.reason if failure else None,
            "message": failure.message[:LONGEST_OF_ATTEMPT] if failure else None,
            "evidence": list(lines)[:MOST_EVIDENCE],
        }
    )


def _concluded(seen: Observed, attempt: Attempt, verdict: Verdict, now: datetime) -> JobPlan:
    """The attempt is over: the job too, or another attempt follows."""
    failure = verdict.failure
    reason = failure.reason if failure else Reason.PUBLISHED
    message = failure.message if failure else "The model is verified and published."
    follows = policy(reason, earlier_reasons(seen.job.status))
    ended = attempt.model_copy(
        update={
            "head_gone_time": attempt.head_gone_time if verdict.headless else None,
            "completion_time": timestamp(now),
            "reason": reason,
            "message": message[:LONGEST_OF_ATTEMPT],
            "exempt": follows.exempt and failure is not None,
        }
    )
    result = verdict.result
    status = seen.job.status.model_copy(
        update={
            "attempts": [*seen.job.status.attempts[:-1], ended],
            "progress": (result.progress if result else None) or seen.job.status.progress,
            "workers": None,
            "ready_workers": None,
            **(_results(seen, result) if result else {}),
        }
    )
    if failure is None:
        return _over(seen, status, Standing("Succeeded", reason, message), now)
    if reason == Reason.SUSPENDED:
        return replace(_suspended(seen, now, status), delete=_ray_jobs(seen))
    if follows.retry and (follows.exempt or failed_attempts(status) < seen.job.job.spec.retry.max_attempts):
        plan = _stands(seen, _will_retry(seen, ended, status), now, again_after=1, status=status)
        return replace(plan, delete=_ray_jobs(seen))
    return _over(seen, status, Standing("Failed", reason, _final(message, status)), now)


def _results(seen: Observed, result: FineTuneJobStatus) -> dict[str, Any]:
    """What the trainer reported of its model, as a status shows it."""
    metrics, name = _for_people(result.metrics), seen.job.job.spec.primary_metric
    primary = next((metric for metric in metrics if metric.name == name), None)
    return {
        "metrics": metrics,
        "primary_metric": primary,
        "artifact": result.artifact,
        "resolved": result.resolved or seen.job.status.resolved,
    }


def _for_people(metrics: list[Metric]) -> list[Metric]:
    """Each once, as the API server wants it, whatever a tenant's report says; the manifest has all digits."""
    values = {metric.name: six_digits(metric.value) for metric in metrics}
    return [Metric(name=name, value=value) for name, value in values.items()]


def _final(message: str, status: FineTuneJobStatus) -> str:
    failed = failed_attempts(status)
    return message if failed < 2 else f"{message} (after {failed} failed attempts)"


def _over(seen: Observed, status: FineTuneJobStatus, standing: Standing, now: datetime) -> JobPlan:
    """The end. What still runs goes; a cluster that has ended stays for the moment that its logs are kept."""
    status = status.model_copy(update={"completion_time": timestamp(now)})
    done = with_standing(status, standing, seen.job.generation, now)
    return _after_the_end(replace(seen, job=replace(seen.job, status=done)), now)


def _after_the_end(seen: Observed, now: datetime) -> JobPlan:
    status, ended = seen.job.status, _end_of(seen.job.status, now)
    status = status.model_copy(update={"observed_generation": seen.job.generation})
    moments = [ended + _LINGERING] if any(not ray_job.terminal for ray_job in seen.ray_jobs) else []
    delete = _not_ended(seen, status, now)
    kept = seen.job.parsed.spec.ttl_seconds_after_finished if seen.job.parsed else None
    if kept is not None:
        moments.append(ended + timedelta(seconds=kept))
        if now >= moments[-1]:
            delete = (*_ray_jobs(seen), *_leftovers(seen))
    coming = [(at - now).total_seconds() for at in moments if at > now]
    return Plan(status, delete=delete, again_after=min(coming, default=None))


def _not_ended(seen: Observed, status: FineTuneJobStatus, now: datetime) -> tuple[Ref, ...]:
    """The RayJobs of a finished job that still hold hardware. A trainer that said its last word is about to end, and
    its log is read meanwhile; what would not end by itself goes at once."""
    last = status.attempts[-1] if status.attempts else None
    ends = last is not None and last.reason in TRAINER_FAILURES and last.head_gone_time is None
    patience = _LINGERING if holds(status, "Succeeded") or ends else timedelta(0)
    if now < _end_of(status, now) + patience:
        return ()
    return tuple(_ref(ray_job) for ray_job in seen.ray_jobs if not ray_job.terminal and not ray_job.deleting)


def _end_of(status: FineTuneJobStatus, now: datetime) -> datetime:
    return moment(status.completion_time) if status.completion_time else now


def _leftovers(seen: Observed) -> tuple[Ref, ...]:
    """What belongs to the job alone; what its namespace shares stays."""
    own = {CONFIG_MAP.name: CONFIG_MAP, ROLE.name: ROLE, ROLE_BINDING.name: ROLE_BINDING}
    return tuple(
        Ref(own[kind], name, thing["metadata"]["uid"])
        for (kind, name), thing in seen.existing.items()
        if kind in own and thing["metadata"].get("labels", {}).get(names.JOB_UID) == seen.job.uid
    )


def _suspended(seen: Observed, now: datetime, status: FineTuneJobStatus | None = None) -> JobPlan:
    status = status or seen.job.status
    left = len([pod for pod in seen.pods if pod.role != "submitter"])
    message = f"suspended; {left} of its pods are still ending" if left else "suspended; spec.suspend: false goes on"
    return _stands(seen, Standing("Suspended", Reason.SUSPENDED, message), now, again_after=None, status=status)


def _before_the_next(seen: Observed, last: Attempt, now: datetime) -> JobPlan | None:
    """What there is to wait for before the next attempt; None if nothing."""
    if seen.ray_jobs or seen.pods or seen.ray_clusters:
        left = [*(pod.name for pod in seen.pods), *(cluster.name for cluster in seen.ray_clusters)] or [last.ray_job]
        standing = Standing(
            "Pending",
            Reason.CLEANING_UP,
            f"attempt {last.number} ended ({last.reason}: {last.message}); the next one waits until {left[0]}"
            + (f" and {len(left) - 1} more are gone" if len(left) > 1 else " is gone"),
        )
        return replace(_stands(seen, standing, now, again_after=10), delete=_ray_jobs(seen))
    wait = _next_at(seen, last, seen.job.status) - now
    if wait > timedelta(0):
        return _stands(seen, _will_retry(seen, last, seen.job.status), now, again_after=wait.total_seconds())
    return None


def _will_retry(seen: Observed, last: Attempt, status: FineTuneJobStatus) -> Standing:
    at = _next_at(seen, last, status)
    most = seen.job.job.spec.retry.max_attempts
    cost = "which costs none of its attempts" if last.exempt else f"failed attempt {failed_attempts(status)} of {most}"
    found = "ends with a model that it finds published, or " if last.reason == Reason.REPORT_LOST else ""
    return Standing(
        "Pending",
        Reason.WAITING_TO_RETRY,
        f"attempt {last.number} ended ({last.reason}: {last.message}), {cost}; the next one {found}starts from the"
        f" pretrained model, not before {timestamp(at)}",
    )


def _next_at(seen: Observed, last: Attempt, status: FineTuneJobStatus) -> datetime:
    """When the attempt after the last one of the status may begin."""
    ended = moment(last.completion_time or last.start_time)
    if last.reason == Reason.SUSPENDED:
        return ended
    times = exempt_in_a_row(status) - 1 if last.exempt else failed_attempts(status) - 1
    return ended + timedelta(seconds=min(_LONGEST_BACKOFF, seen.job.job.spec.retry.backoff_seconds * 2**times))


def refused_creation(seen: Observed, error: str, now: datetime) -> FineTuneJobStatus:
    """The status of a job of which the API server refuses to create something."""
    standing = Standing(
        "Pending",
        Reason.CREATION_REFUSED,
        f"{error}; the platform team mends this (quota, rights, KubeRay 1.6 or newer), and the job goes on then",
    )
    return with_standing(seen.job.status, standing, seen.job.generation, now)


def _refused(seen: Observed, refused: Refused, now: datetime) -> JobPlan:
    return _stands(seen, Standing("Pending", refused.reason, refused.message, refused=True), now, again_after=None)


def _without_kuberay() -> Standing:
    return Standing(
        "Pending",
        Reason.KUBERAY_MISSING,
        "the cluster does not know RayJobs; the platform team installs KubeRay 1.6 or newer, and the job goes on then",
    )


def _stands(
    seen: Observed,
    standing: Standing,
    now: datetime,
    *,
    again_after: float | None,
    status: FineTuneJobStatus | None = None,
) -> JobPlan:
    return Plan(with_standing(status or seen.job.status, standing, seen.job.generation, now), again_after=again_after)


def _ray_jobs(seen: Observed) -> tuple[Ref, ...]:
    return tuple(_ref(ray_job) for ray_job in seen.ray_jobs if not ray_job.deleting)


def _ref(ray_job: RayJobView) -> Ref:
    return Ref(RAY_JOB, ray_job.name, ray_job.uid)
