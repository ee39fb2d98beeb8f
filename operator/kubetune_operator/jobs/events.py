"""What has become of a job between two statuses, as the events that tell of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt, Condition, ConditionType, FineTuneJobStatus
from kubetune_api.tables import listed
from kubetune_api.text import plural
from kubetune_operator.jobs.checkpoints import steps_done_again
from kubetune_operator.jobs.micro_batches import was_too_large
from kubetune_operator.machinery.events import Transition

_UNEVENTFUL = frozenset({Reason.PUBLISHED, Reason.SUSPENDED})
"""Ends of an attempt that the job's own event tells."""


@dataclass(frozen=True)
class AttemptChanges:
    """What became of a job's attempts between two statuses."""

    started: tuple[Attempt, ...]
    """New ones."""
    running: tuple[Attempt, ...]
    """Those whose training began, or began again after a queue had taken their hardware."""
    ended: tuple[Attempt, ...]
    """Those whose end was seen."""


def transitions_of(before: FineTuneJobStatus | None, after: FineTuneJobStatus) -> list[Transition]:
    """The transitions between two statuses."""
    old = before or FineTuneJobStatus()
    changes = (_attempts, _beginning, _suspension, _acceptance, _end)
    return [transition for told in changes for transition in told(old, after)]


def attempt_changes(before: FineTuneJobStatus, after: FineTuneJobStatus) -> AttemptChanges:
    """What became of the attempts; one that comes already ended has started and ended."""
    old = {attempt.number: attempt for attempt in before.attempts}
    pairs = [(old.get(attempt.number), attempt) for attempt in after.attempts]
    return AttemptChanges(
        started=tuple(new for known, new in pairs if known is None),
        running=tuple(new for known, new in pairs if new.running_time and not (known and known.running_time)),
        ended=tuple(new for known, new in pairs if new.completion_time and not (known and known.completion_time)),
    )


def _attempts(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[Transition]:
    changes = attempt_changes(before, after)
    for attempt in changes.started:
        note = f"Attempt {attempt.number} starts as RayJob {attempt.ray_job}."
        yield Transition(("started", attempt.number), "AttemptStarted", "StartAttempt", note)
        last = next((one for one in after.attempts if one.number == attempt.number - 1), None)
        if attempt.micro_batch_size and last and was_too_large(last):
            yield Transition(("smaller", attempt.number), "MicroBatchHalved", "StartAttempt", _smaller(last, attempt))
        if last and (new := [node for node in attempt.avoided_nodes if node not in last.avoided_nodes]):
            note = f"Two attempts failed on {listed(new)}: attempt {attempt.number} and later ones avoid it."
            yield Transition(("avoided", attempt.number), "NodeAvoided", "StartAttempt", note, "Warning")
    for attempt in changes.running:
        note = f"The trainer of attempt {attempt.number} has started."
        # A queue may take the hardware away and admit the same attempt again.
        yield Transition(("running", attempt.number, attempt.ran_seconds), "TrainingStarted", "Train", note)
    for attempt in changes.ended:
        if attempt.reason not in _UNEVENTFUL:
            note = f"Attempt {attempt.number} ended: {attempt.message or 'nothing more is known.'}"
            reason = attempt.reason or Reason.UNKNOWN
            yield Transition(("ended", attempt.number), reason, "EndAttempt", note, "Warning")


def _beginning(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[Transition]:
    """Where a training goes on that had been ended."""
    again = steps_done_again(before, after)
    if again is None:
        return
    attempt = after.attempts[-1]
    step = attempt.resumed_step or 0
    begins = f"goes on behind step {step:,}" if step else "begins with the first step"
    note = f"Attempt {attempt.number} {begins}; {plural(again, 'step')} that an earlier one did will be done again."
    yield Transition(("resumed", attempt.number, attempt.execution), "TrainingResumed", "Train", note)


def _smaller(last: Attempt, attempt: Attempt) -> str:
    return (
        f"Attempt {last.number} ran out of memory with micro-batches of {last.micro_batch_size}: from attempt"
        f" {attempt.number} on they have at most {attempt.micro_batch_size}, whatever the manifest or the planner says."
        " The global batch stays the same, and so does the result."
    )


def _suspension(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[Transition]:
    was, now = _condition(before, "Suspended"), _condition(after, "Suspended")
    if _holds(was) == _holds(now):
        return
    key = ("suspension", after.observed_generation, _since(was))
    if _holds(now):
        note = now.message if now else ""
        yield Transition(key, Reason.SUSPENDED, "Suspend", note)
    else:
        yield Transition(key, Reason.RESUMED, "Resume", after.message or "The job continues.")


def _acceptance(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[Transition]:
    """The job is refused, for a new reason; or else it waits for something new."""
    was, now = _condition(before, "Accepted"), _condition(after, "Accepted")
    if now and now.status == "False":
        if _holds(_condition(after, "Failed")) or (was and _said(was) == _said(now)):
            return
        refusal = ("refused", _since(was), *_said(now))
        yield Transition(refusal, now.reason, "Accept", now.message, "Warning")
    elif after.phase in ("Pending", "Admitted") and after.reason not in (None, before.reason, Reason.RESUMED):
        number = after.attempts[-1].number if after.attempts else 0
        wait = ("waiting", after.observed_generation, number, before.reason, after.reason)
        yield Transition(wait, after.reason, "Wait", after.message or "The job waits.")


def _end(before: FineTuneJobStatus, after: FineTuneJobStatus) -> Iterator[Transition]:
    succeeded, failed = _condition(after, "Succeeded"), _condition(after, "Failed")
    if succeeded and _holds(succeeded) and not _holds(_condition(before, "Succeeded")):
        place = f" It is at {after.artifact.uri}" if after.artifact else ""
        yield Transition(("succeeded",), "Succeeded", "Finish", f"{succeeded.message}{place}")
    if failed and _holds(failed) and not _holds(_condition(before, "Failed")):
        yield Transition(("failed",), "Failed", "Finish", f"{failed.reason}: {failed.message}", "Warning")


def _condition(status: FineTuneJobStatus, name: ConditionType) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == name), None)


def _holds(condition: Condition | None) -> bool:
    return condition is not None and condition.status == "True"


def _since(condition: Condition | None) -> str | None:
    """When the earlier condition came to be: it is stored, so a repeated reconcile reads the same time."""
    return condition.last_transition_time if condition else None


def _said(condition: Condition) -> tuple[str, str, str]:
    return condition.status, condition.reason, condition.message
