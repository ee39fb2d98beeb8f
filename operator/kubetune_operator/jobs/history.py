"""The attempts that a status lists, and what those still count for that it no longer lists. Pure."""

from datetime import datetime
from itertools import takewhile

from kubetune_api.status import MOST_ATTEMPTS, Attempt, DroppedAttempts, FineTuneJobStatus
from kubetune_operator.jobs.verdict import running_seconds


def with_attempt(status: FineTuneJobStatus, attempt: Attempt, now: datetime) -> FineTuneJobStatus:
    """The status with one more attempt. Where it lists as many as it may, the oldest that was exempt goes, or else the
    oldest: it leaves the time that it ran to the next one, and its reason and its cost to `droppedAttempts`."""
    attempts = [*status.attempts, attempt]
    if len(attempts) <= MOST_ATTEMPTS:
        return status.model_copy(update={"attempts": attempts})
    oldest = next((place for place, known in enumerate(attempts[:-1]) if known.exempt), 0)
    gone, heir = attempts[oldest : oldest + 2]
    ran = heir.ran_seconds + int(running_seconds([gone], now))
    attempts[oldest : oldest + 2] = [heir.model_copy(update={"ran_seconds": ran})]
    return status.model_copy(update={"attempts": attempts, "dropped_attempts": _with(status.dropped_attempts, gone)})


def failed_attempts(status: FineTuneJobStatus) -> int:
    """How many attempts cost one of `retry.maxAttempts`."""
    dropped = status.dropped_attempts.failed if status.dropped_attempts else 0
    return dropped + sum(not attempt.exempt for attempt in status.attempts if attempt.completion_time)


def exempt_in_a_row(status: FineTuneJobStatus) -> int:
    """How often the last attempts lost their hardware, one after the other, as far as they are listed."""
    return len(list(takewhile(lambda attempt: attempt.exempt, reversed(status.attempts))))


def earlier_reasons(status: FineTuneJobStatus) -> list[str]:
    """The reasons that the attempts before the last one ended for."""
    dropped = status.dropped_attempts.reasons if status.dropped_attempts else []
    return [*dropped, *(attempt.reason for attempt in status.attempts[:-1] if attempt.reason)]


def _with(dropped: DroppedAttempts | None, gone: Attempt) -> DroppedAttempts:
    dropped = dropped or DroppedAttempts()
    reasons = dict.fromkeys([*dropped.reasons, gone.reason or ""])
    return DroppedAttempts(failed=dropped.failed + (not gone.exempt), reasons=[reason for reason in reasons if reason])
