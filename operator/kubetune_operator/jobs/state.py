"""The state of a job, and the status that says it: conditions, phase, one reason and one sentence."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from kubetune_api.reasons import Reason
from kubetune_api.status import LONGEST_SENTENCE, Condition, ConditionType, FineTuneJobStatus, Phase
from kubetune_api.times import timestamp
from kubetune_operator.jobs.checkpoints import unsaved


@dataclass(frozen=True)
class JobState:
    """The state of a job."""

    phase: Phase
    reason: str
    message: str
    refused: bool = False
    """Whether the job may not run as it is; it may yet be mended."""
    admitted: bool = False
    """Whether hardware is granted to it."""


def with_state(status: FineTuneJobStatus, state: JobState, generation: int, now: datetime) -> FineTuneJobStatus:
    """The status of a job in this state."""
    message = state.message[:LONGEST_SENTENCE]
    since = status.reason_since_time if status.reason == state.reason else timestamp(now)
    conditions = _conditions(status, state, message, timestamp(now))
    said = status.model_copy(
        update={
            "phase": state.phase,
            "reason": state.reason,
            "reason_since_time": since,
            "message": message,
            "conditions": conditions,
        }
    )
    return observed(said, generation).summarized


def without_hardware(status: FineTuneJobStatus, now: datetime) -> FineTuneJobStatus:
    """The same status once nothing of the job holds hardware any more."""
    if not holds(status, "Admitted"):
        return status
    change = {"status": "False", "last_transition_time": timestamp(now)}
    conditions = [each.model_copy(update=change if each.type == "Admitted" else {}) for each in status.conditions]
    return status.model_copy(update={"conditions": conditions})


def observed(status: FineTuneJobStatus, generation: int) -> FineTuneJobStatus:
    """The same status, said of this generation of the spec: `kubectl wait` believes a condition of no other."""
    conditions = [each.model_copy(update={"observed_generation": generation}) for each in status.conditions]
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})


def holds(status: FineTuneJobStatus, condition: ConditionType) -> bool:
    """Whether a condition is true."""
    return any(known.type == condition and known.status == "True" for known in status.conditions)


def finished(status: FineTuneJobStatus) -> bool:
    """Whether the job is over for good."""
    return holds(status, "Succeeded") or holds(status, "Failed")


def _conditions(status: FineTuneJobStatus, state: JobState, message: str, now: str) -> list[Condition]:
    before = {condition.type: condition for condition in status.conditions}
    true: dict[ConditionType, bool] = {
        "Accepted": not state.refused,
        "Admitted": state.admitted,
        "Running": state.phase == "Running",
        "Ready": state.phase == "Succeeded",
        "Stalled": state.refused or state.phase == "Failed",
    }
    if status.checkpoint is not None:
        true["CheckpointsSaved"] = not status.checkpoint.failures
    if state.phase == "Suspended" or "Suspended" in before:
        true["Suspended"] = state.phase == "Suspended"
    if state.phase in ("Succeeded", "Failed"):
        true[state.phase] = True
    conditions = [_condition(kind, holds_now, state, message, before, now) for kind, holds_now in true.items()]
    return [_of_checkpoints(each, status) if each.type == "CheckpointsSaved" else each for each in conditions]


def _of_checkpoints(condition: Condition, status: FineTuneJobStatus) -> Condition:
    """The condition in its own words: it says nothing of the phase."""
    reason = Reason.CHECKPOINT_FAILED if condition.status == "False" else Reason.CHECKPOINT_SAVED
    message = unsaved(status) or "Checkpoints are saved as they are due."
    return condition.model_copy(update={"reason": reason, "message": message[:LONGEST_SENTENCE]})


def _condition(
    kind: ConditionType,
    true: bool,
    state: JobState,
    message: str,
    before: dict[str, Condition],
    now: str,
) -> Condition:
    value: Literal["True", "False"] = "True" if true else "False"
    known = before.get(kind)
    since = known.last_transition_time if known is not None and known.status == value else now
    reason, text = state.reason, message
    if kind == "Accepted" and true:
        reason, text = Reason.ACCEPTED, "The profile allows the job."
    return Condition(type=kind, status=value, reason=reason, message=text, last_transition_time=since)
