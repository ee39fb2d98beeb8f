"""The attempts that a status lists, and what those still count for that it no longer lists. Pure."""

import math
from datetime import datetime

from kubetune_api.reasons import Reason
from kubetune_api.status import MOST_ATTEMPTS, Attempt, DroppedAttempts, FineTuneJobStatus
from kubetune_api.times import moment
from kubetune_operator.jobs.running_times import ran_seconds

_INTERRUPTIONS = frozenset(
    {Reason.PREEMPTED, Reason.NODE_LOST, Reason.EVICTED, Reason.INTERRUPTED, Reason.ATTEMPT_DELETED}
)
"""Ends that come again at a rate of the hardware's own. A suspension is somebody's wish."""


def with_attempt(status: FineTuneJobStatus, attempt: Attempt, now: datetime) -> FineTuneJobStatus:
    """The status with one more attempt. Where it lists as many as it may, the oldest that was exempt goes, or else the
    oldest: what it counts for stays in `droppedAttempts`."""
    attempts = [*status.attempts, attempt]
    if len(attempts) <= MOST_ATTEMPTS:
        return status.model_copy(update={"attempts": attempts})
    oldest = next((place for place, known in enumerate(attempts[:-1]) if known.exempt), 0)
    dropped = _with(status.dropped_attempts, attempts.pop(oldest), now)
    return status.model_copy(update={"attempts": attempts, "dropped_attempts": dropped})


def failed_attempts(status: FineTuneJobStatus) -> int:
    """How many attempts cost one of `retry.maxAttempts`."""
    dropped = status.dropped_attempts.failed if status.dropped_attempts else 0
    return dropped + sum(not attempt.exempt for attempt in status.attempts if attempt.completion_time)


def exempt_in_a_row(status: FineTuneJobStatus) -> int:
    """How many attempts after the last one that failed lost their hardware, one after the other."""
    failed = [attempt.number for attempt in status.attempts if attempt.completion_time and not attempt.exempt]
    dropped = status.dropped_attempts.last_failed if status.dropped_attempts else 0
    return status.attempts[-1].number - max([dropped, *failed]) if status.attempts else 0


def goodput(status: FineTuneJobStatus, now: datetime) -> float | None:
    """The share of the time that the listed attempts ran whose steps no later one did again; None before any ran. Time
    in which an attempt did no step counts for nothing."""
    ran = useful = 0.0
    counts_until = math.inf
    for attempt in reversed(status.attempts):
        begins, ends = attempt.resumed_step or 0, attempt.last_step
        if attempt is status.attempts[-1] and status.progress is not None:
            ends = status.progress.step
        seconds = ran_seconds(attempt, now)
        ran += seconds
        if ends is not None and ends > begins:
            useful += seconds * max(0.0, min(counts_until, ends) - begins) / (ends - begins)
            counts_until = min(counts_until, begins)
    return useful / ran if ran else None


def mean_seconds_between_interruptions(status: FineTuneJobStatus) -> float | None:
    """How long the listed attempts that are over ran, for each that something outside the run ended; None before any
    was."""
    over = [attempt for attempt in status.attempts if attempt.completion_time]
    interruptions = sum(attempt.exempt and attempt.reason in _INTERRUPTIONS for attempt in over)
    ran = sum(ran_seconds(attempt, moment(attempt.completion_time)) for attempt in over if attempt.completion_time)
    return max(1.0, ran / interruptions) if interruptions else None


def earlier_reasons(status: FineTuneJobStatus) -> list[str]:
    """The reasons that the attempts before the last one ended for."""
    dropped = status.dropped_attempts.reasons if status.dropped_attempts else []
    return [*dropped, *(attempt.reason for attempt in status.attempts[:-1] if attempt.reason)]


def _with(dropped: DroppedAttempts | None, gone: Attempt, now: datetime) -> DroppedAttempts:
    dropped = dropped or DroppedAttempts()
    reasons = dict.fromkeys([*dropped.reasons, gone.reason or ""])
    return DroppedAttempts(
        failed=dropped.failed + (not gone.exempt),
        reasons=[reason for reason in reasons if reason],
        last_failed=dropped.last_failed if gone.exempt else max(dropped.last_failed, gone.number),
        ran_seconds=dropped.ran_seconds + int(ran_seconds(gone, now)),
    )
