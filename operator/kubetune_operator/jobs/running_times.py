"""How long attempts ran, and what a step of theirs took. Pure."""

from datetime import datetime

from kubetune_api.status import Attempt, FineTuneJobStatus
from kubetune_api.times import moment


def running_seconds(status: FineTuneJobStatus, last: Attempt, now: datetime) -> float:
    """How long all attempts have run, those that are no longer listed included, in seconds. `last` is the last one as
    it is now."""
    dropped = status.dropped_attempts.ran_seconds if status.dropped_attempts else 0
    return dropped + sum(ran_seconds(attempt, now) for attempt in (*status.attempts[:-1], last))


def ran_seconds(attempt: Attempt, now: datetime) -> float:
    """How long an attempt has run, in seconds."""
    if attempt.running_time is None:
        return attempt.ran_seconds
    ended = moment(attempt.completion_time) if attempt.completion_time else now
    return attempt.ran_seconds + (ended - moment(attempt.running_time)).total_seconds()


def seconds_per_step(status: FineTuneJobStatus) -> float | None:
    """What a step took in the last attempt that is over and did any, its start and its evaluations included; None where
    there is none."""
    for attempt in reversed(status.attempts):
        steps = (attempt.last_step or 0) - (attempt.resumed_step or 0)
        if attempt.completion_time and steps > 0:
            return ran_seconds(attempt, moment(attempt.completion_time)) / steps
    return None
