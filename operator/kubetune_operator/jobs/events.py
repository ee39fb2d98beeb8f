"""What becomes of a job, told as Kubernetes events in its own namespace: `kubectl describe` shows them.

An event tells of a transition, never of a state. Its name is made of the transition, so a reconcile that is repeated
after a crash makes the same event again, and the API server answers that it is there already.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from kubetune_api.base import GROUP
from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt, Condition, ConditionType, FineTuneJobStatus
from kubetune_operator.machinery.kinds import EVENT, FINE_TUNE_JOB, Object
from kubetune_operator.machinery.logs import one_line

CONTROLLER = f"{GROUP}/operator"
MAX_NOTE_BYTES = 1024
"""The longest note that the API server takes."""
_MAX_INSTANCE = 128
"""The longest name of a replica that it takes."""
_UNEVENTFUL = frozenset({Reason.PUBLISHED, Reason.SUSPENDED})
"""Ends of an attempt that the job's own event tells."""


@dataclass(frozen=True)
class JobRef:
    """The job that the events are about."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class AttemptChanges:
    """What became of a job's attempts between two statuses."""

    started: tuple[Attempt, ...]
    """New ones."""
    running: tuple[Attempt, ...]
    """Those whose training began, or began again after a queue had taken their hardware."""
    ended: tuple[Attempt, ...]
    """Those whose end was seen."""


@dataclass(frozen=True)
class _Transition:
    key: tuple[object, ...]
    """What tells it from every other transition of the job."""
    reason: str
    action: str
    note: str
    type: Literal["Normal", "Warning"] = "Normal"


def events_of(
    job: JobRef, before: FineTuneJobStatus | None, after: FineTuneJobStatus, now: datetime, instance: str
) -> list[Object]:
    """The events of a change of status; `instance` is the replica that reports them."""
    old = before or FineTuneJobStatus()
    transitions = (*_attempts(old, after), *_suspension(old, after), *_acceptance(old, after), *_end(old, after))
    return [_event(job, transition, now, instance) for transition in transitions]


def attempt_changes(before: FineTuneJobStatus, after: FineTuneJobStatus) -> AttemptChanges:
    """What became of the attempts; one that comes already ended has started and ended."""
    old = {attempt.number: attempt for attempt in before.attempts}
    pairs = [(old.get(attempt.number), attempt) for attempt in after.attempts]
    return AttemptChanges(
        started=tuple(new for known, new in pairs if known is None),
        running=tuple(new for known, new in pairs if new.running_time and not (known and known.running_time)),
        ended=tuple(new for known, new in pairs if new.completion_time and not (known and known.completion_time)),
    )


def _attempts(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[_Transition]:
    changes = attempt_changes(before, after)
    for attempt in changes.started:
        note = f"Attempt {attempt.number} starts as RayJob {attempt.ray_job}."
        yield _Transition(("started", attempt.number), "AttemptStarted", "StartAttempt", note)
    for attempt in changes.running:
        note = f"The trainer of attempt {attempt.number} has started."
        # A queue may take the hardware away and admit the same attempt again.
        yield _Transition(("running", attempt.number, attempt.ran_seconds), "TrainingStarted", "Train", note)
    for attempt in changes.ended:
        if attempt.reason not in _UNEVENTFUL:
            note = f"Attempt {attempt.number} ended: {attempt.message or 'nothing more is known.'}"
            reason = attempt.reason or Reason.UNKNOWN
            yield _Transition(("ended", attempt.number), reason, "EndAttempt", note, "Warning")


def _suspension(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[_Transition]:
    was, now = _condition(before, "Suspended"), _condition(after, "Suspended")
    if _holds(was) == _holds(now):
        return
    key = ("suspension", after.observed_generation, _since(was))
    if _holds(now):
        note = now.message if now else ""
        yield _Transition(key, Reason.SUSPENDED, "Suspend", note)
    else:
        yield _Transition(key, Reason.RESUMED, "Resume", after.message or "The job goes on.")


def _acceptance(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[_Transition]:
    """The job is refused, for a new reason; or else it waits for something new."""
    was, now = _condition(before, "Accepted"), _condition(after, "Accepted")
    if now and now.status == "False":
        if _holds(_condition(after, "Failed")) or (was and _said(was) == _said(now)):
            return
        refusal = ("refused", _since(was), *_said(now))
        yield _Transition(refusal, now.reason, "Accept", now.message, "Warning")
    elif after.phase in ("Pending", "Admitted") and after.reason not in (None, before.reason, Reason.RESUMED):
        number = after.attempts[-1].number if after.attempts else 0
        wait = ("waiting", after.observed_generation, number, before.reason, after.reason)
        yield _Transition(wait, after.reason, "Wait", after.message or "The job waits.")


def _end(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[_Transition]:
    succeeded, failed = _condition(after, "Succeeded"), _condition(after, "Failed")
    if succeeded and _holds(succeeded) and not _holds(_condition(before, "Succeeded")):
        place = f" It lies at {after.artifact.uri}" if after.artifact else ""
        yield _Transition(("succeeded",), "Succeeded", "Finish", f"{succeeded.message}{place}")
    if failed and _holds(failed) and not _holds(_condition(before, "Failed")):
        yield _Transition(("failed",), "Failed", "Finish", f"{failed.reason}: {failed.message}", "Warning")


def _condition(status: FineTuneJobStatus, name: ConditionType) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == name), None)


def _holds(condition: Condition | None) -> bool:
    return condition is not None and condition.status == "True"


def _since(condition: Condition | None) -> str | None:
    """When the earlier condition came to be: it is stored, so a repeated reconcile reads the same time."""
    return condition.last_transition_time if condition else None


def _said(condition: Condition) -> tuple[str, str, str]:
    return condition.status, condition.reason, condition.message


def _event(job: JobRef, transition: _Transition, now: datetime, instance: str) -> Object:
    digest = hashlib.sha256(repr((job.uid, *transition.key)).encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {"name": f"{job.name}.{digest}", "namespace": job.namespace},
        "eventTime": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_MAX_INSTANCE],
        "type": transition.type,
        "reason": one_line(transition.reason) or Reason.UNKNOWN,
        "action": transition.action,
        "note": _note(transition.note),
        "regarding": {
            "apiVersion": FINE_TUNE_JOB.api_version,
            "kind": FINE_TUNE_JOB.name,
            "namespace": job.namespace,
            "name": job.name,
            "uid": job.uid,
        },
    }


def _note(text: str) -> str:
    """The text on one line, cut where it is longer than an event may be."""
    line = one_line(text)
    whole = line.encode()
    if len(whole) <= MAX_NOTE_BYTES:
        return line
    mark = "…"
    # A character of several bytes that the cut goes through is left out.
    return whole[: MAX_NOTE_BYTES - len(mark.encode())].decode(errors="ignore") + mark
