"""An attempt: how it begins, what is kept of it, how it ends, and when the next one may begin. Pure."""

from datetime import datetime, timedelta
from typing import Any

from kubetune_api.reasons import Reason
from kubetune_api.status import (
    LONGEST_EVIDENCE,
    LONGEST_OF_ATTEMPT,
    MOST_EVIDENCE,
    Attempt,
    FineTuneJobStatus,
    Metric,
    six_digits,
)
from kubetune_api.times import moment, timestamp
from kubetune_operator.jobs import names
from kubetune_operator.jobs.checkpoints import next_beginning
from kubetune_operator.jobs.failures import Failure, counting, evidence_in, seen_in, stronger, weightiest, whole
from kubetune_operator.jobs.fewer_workers import ran_out_as_fewer, without_nodes, workers_after, workers_of
from kubetune_operator.jobs.history import exempt_in_a_row, failed_attempts
from kubetune_operator.jobs.micro_batches import most_after, was_too_large
from kubetune_operator.jobs.nodes import avoided_after, failed_node
from kubetune_operator.jobs.observed import JobView, Observed
from kubetune_operator.jobs.running_times import running_seconds
from kubetune_operator.jobs.state import JobState
from kubetune_operator.jobs.verdict import (
    GRACE,
    Verdict,
    head_grace,
    noted,
    runs_without_head,
    stuck_in,
    stuck_until,
)
from kubetune_operator.jobs.views import PodView, RayJobView
from kubetune_operator.jobs.waiting import AttemptState, apart_at, driver_runs
from kubetune_operator.settings import Settings

_LONGEST_BACKOFF = 3600


def new_attempt(job: JobView, deadline: int | None, now: datetime) -> Attempt:
    """The attempt after the last one."""
    number = 1 if job.attempt is None else job.attempt.number + 1
    name = names.ray_job(job.name, job.uid, number)
    return Attempt(
        number=number,
        ray_job=name,
        start_time=timestamp(now),
        deadline_seconds=deadline,
        micro_batch_size=most_after(job.attempt),
        workers=workers_after(job.attempt),
        avoided_nodes=avoided_after(job.status.attempts, now),
    )


def ray_job_of(seen: Observed, attempt: Attempt) -> RayJobView | None:
    """Its RayJob, and not another that somebody made under the same name."""
    among = (ray_job for ray_job in seen.ray_jobs if ray_job.name == attempt.ray_job)
    known = attempt.ray_job_uid
    return next((one for one in among if (one.controlled if known is None else one.uid == known)), None)


def with_evidence(seen: Observed, attempt: Attempt, ray_job: RayJobView | None, now: datetime) -> Attempt:
    """The attempt with all that is seen of it now and may be gone soon."""
    pods, report = seen.pods_of(attempt.number), seen.report_of(attempt.number)
    clusters = [cluster for cluster in seen.ray_clusters if cluster.attempt == attempt.number]
    failure = _provisional(seen, attempt, ray_job)
    headless = ray_job is not None and runs_without_head(ray_job, pods, tuple(clusters))
    over = ray_job is not None and ray_job.terminal
    lines = [*attempt.evidence, *(line[:LONGEST_EVIDENCE] for line in evidence_in(pods))]
    return attempt.model_copy(
        update={
            "ray_job_uid": ray_job.uid if ray_job else attempt.ray_job_uid,
            "ray_job_ended_time": (attempt.ray_job_ended_time or timestamp(now)) if over else None,
            "ray_cluster_uid": clusters[-1].uid if clusters else attempt.ray_cluster_uid,
            "head_gone_time": (attempt.head_gone_time or timestamp(now)) if headless else None,
            **_stuck(seen, attempt, pods, now),
            "execution": (report.execution if report else None) or attempt.execution,
            "reason": failure.reason if failure else None,
            "message": failure.message[:LONGEST_OF_ATTEMPT] if failure else None,
            "failed_node": failed_node(attempt, failure, pods),
            "evidence": weightiest(lines, MOST_EVIDENCE),
        }
    )


def _provisional(seen: Observed, attempt: Attempt, ray_job: RayJobView | None) -> Failure | None:
    """The strongest of what was seen so far of the attempt's end. What an earlier pod showed, which others have
    replaced, is overcome once the driver runs on all of them, and does not outweigh what pods show later."""
    pods, status, workers = seen.pods_of(attempt.number), seen.job.status, workers_of(seen)
    kept = noted(attempt)
    begins = attempt.running_time is None and ray_job is not None and driver_runs(seen, ray_job, attempt)
    if begins and whole(pods, workers):
        return seen_in(counting(pods, workers))
    was_whole = bool(status.workers) and status.ready_workers == status.workers
    if (shown := seen_in(counting(pods, workers))) is not None:
        return shown if was_whole else stronger(shown, kept)
    # Replaced before anybody looked: it may be all that is ever seen of why the run fails.
    replaced = seen_in(pods)
    return kept if replaced is None else stronger(replaced, kept)


def _stuck(seen: Observed, attempt: Attempt, pods: tuple[PodView, ...], now: datetime) -> dict[str, str | None]:
    """One pod that cannot start, followed as long as it cannot: by our own clock, whatever those of others say."""
    stuck = {**without_nodes(seen, attempt, pods), **stuck_in(attempt, pods)}
    if attempt.stuck_pod in stuck and _lasts(attempt.stuck_reason, stuck[attempt.stuck_pod].reason):
        return {}
    pod = min(stuck, default=None)
    return {
        "stuck_pod": pod,
        "stuck_time": timestamp(now) if pod else None,
        "stuck_reason": stuck[pod].reason if pod else None,
    }


def _lasts(first: str | None, now: str) -> bool:
    """Whether it is still the same that keeps a pod. What a registry says may change at any time; a worker that got its
    image at last has all of its time to reach the head."""
    return first == now or {first, now}.isdisjoint({Reason.HEAD_UNREACHABLE, Reason.FEWER_WORKERS})


def timed(attempt: Attempt, state: AttemptState, now: datetime) -> Attempt:
    """Counts the time that the attempt runs; a queue may take its hardware and give it some again."""
    if state.running and attempt.running_time is None:
        return attempt.model_copy(update={"running_time": timestamp(now)})
    if attempt.running_time is not None and not state.admitted:
        ran = attempt.ran_seconds + max(0, int((now - moment(attempt.running_time)).total_seconds()))
        return attempt.model_copy(update={"running_time": None, "ran_seconds": ran})
    return attempt


def ended(attempt: Attempt, verdict: Verdict, now: datetime, *, exempt: bool) -> Attempt:
    """The attempt with its end."""
    return attempt.model_copy(
        update={
            "head_gone_time": attempt.head_gone_time if verdict.headless else None,
            # What was to be waited for has come, or will not.
            **dict.fromkeys(("stuck_pod", "stuck_time", "stuck_reason", "ray_job_ended_time")),
            "completion_time": timestamp(now),
            "reason": verdict.reason,
            "message": verdict.message[:LONGEST_OF_ATTEMPT],
            "exempt": exempt,
        }
    )


def with_end(job: JobView, last: Attempt, result: FineTuneJobStatus | None) -> FineTuneJobStatus:
    """The status of a job whose attempt has ended, with what its trainer said at its end."""
    status = job.status
    progress = (result.progress if result else None) or status.progress
    done = progress.step if progress else last.last_step
    return status.model_copy(
        update={
            "attempts": [*status.attempts[:-1], last.model_copy(update={"last_step": done})],
            "data": (result.data if result else None) or status.data,
            "progress": progress,
            "workers": None,
            "ready_workers": None,
            **(_results(job, result) if result else {}),
        }
    )


def _results(job: JobView, result: FineTuneJobStatus) -> dict[str, Any]:
    """What the trainer reported of its model, as a status shows it."""
    metrics, name = _for_people(result.metrics), job.job.spec.primary_metric
    primary = next((metric for metric in metrics if metric.name == name), None)
    return {
        "metrics": metrics,
        "primary_metric": primary,
        "artifact": result.artifact,
        "resolved": result.resolved or job.status.resolved,
    }


def _for_people(metrics: list[Metric]) -> list[Metric]:
    """Each once, as the API server wants it, whatever a tenant's report says; the manifest has all digits."""
    values = {metric.name: six_digits(metric.value) for metric in metrics}
    return [Metric(name=name, value=value) for name, value in values.items()]


def when_to_look(seen: Observed, attempt: Attempt, settings: Settings, now: datetime) -> float | None:
    """Until the next moment at which time alone ends the attempt."""
    moments = []
    if (until := stuck_until(attempt, settings)) is not None:
        moments.append(until)
    if (apart := apart_at(attempt)) is not None and apart > now:
        moments.append(apart)
    if attempt.ray_job_ended_time is not None:
        moments.append(moment(attempt.ray_job_ended_time) + GRACE)
    if attempt.head_gone_time is not None:
        moments.append(moment(attempt.head_gone_time) + head_grace(seen, attempt))
    if attempt.deadline_seconds is not None and attempt.running_time:
        left = attempt.deadline_seconds - running_seconds(seen.job.status, attempt, now)
        moments.append(now + timedelta(seconds=left))
    return min((max(1.0, (at - now).total_seconds()) for at in moments), default=None)


def next_at(seen: Observed, last: Attempt, status: FineTuneJobStatus) -> datetime:
    """When the attempt after the last one of the status may begin."""
    ended = moment(last.completion_time or last.start_time)
    if last.reason in (Reason.SUSPENDED, Reason.FEWER_WORKERS):
        return ended
    times = exempt_in_a_row(status) - 1 if last.exempt else failed_attempts(status) - 1
    return ended + timedelta(seconds=min(_LONGEST_BACKOFF, seen.job.job.spec.retry.backoff_seconds * 2**times))


def will_retry(seen: Observed, last: Attempt, status: FineTuneJobStatus) -> JobState:
    """The state of a job that waits for its next attempt."""
    at = next_at(seen, last, status)
    most = seen.job.job.spec.retry.max_attempts
    cost = (
        "which does not count as a failed attempt"
        if last.exempt
        else f"failed attempt {failed_attempts(status)} of {most}"
    )
    found = "ends with a model that it finds published, or " if last.reason == Reason.REPORT_LOST else ""
    smaller = f" with micro-batches of {most_after(last)}" if was_too_large(last) else ""
    smaller = " with all workers" if ran_out_as_fewer(last, last.reason or "") else smaller
    return JobState(
        "Pending",
        Reason.WAITING_TO_RETRY,
        f"attempt {last.number} ended ({last.reason}: {last.message}), {cost}; the next one"
        f" {found}{next_beginning(status)}{smaller}, not before {timestamp(at)}",
    )


def final_message(message: str, status: FineTuneJobStatus) -> str:
    """The message of a job that failed with its last attempt."""
    failed, last = failed_attempts(status), status.attempts[-1]
    if was_too_large(last) and last.micro_batch_size == 1:
        message += " (its micro-batches had one row)"
    return message if failed < 2 else f"{message} (after {failed} failed attempts)"
