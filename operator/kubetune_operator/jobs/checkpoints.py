"""What is known of a job's checkpoints: what its status keeps of them over the attempts, what is done again, and how
long pods may take to save. Pure."""

from math import ceil

from kubetune_api.run_report import RunReport
from kubetune_api.status import CheckpointStatus, FineTuneJobStatus, Progress
from kubetune_operator.jobs.running_times import seconds_per_step

_UNKNOWN_SECONDS, _LEAST_SECONDS, _MOST_SECONDS = 120, 30, 600
"""How long a save may take where no checkpoint was measured, and the bounds where one was."""
_MARGIN = 2.0
"""All ranks of a node save at once when it is drained, beside whatever else ends there."""


def saving_seconds(status: FineTuneJobStatus) -> int:
    """How long a training that is asked to end may take to save itself, behind the step that it is in."""
    known, step, least = status.checkpoint, seconds_per_step(status) or 0.0, _LEAST_SECONDS
    if known is None or known.upload_seconds is None:
        took, least = 0.0, _UNKNOWN_SECONDS
    else:
        took = known.upload_seconds + (known.stall_seconds or 0.0)
    return ceil(min(max(least, _MARGIN * (took + step)), _MOST_SECONDS))


def with_report(status: FineTuneJobStatus, report: RunReport | None) -> FineTuneJobStatus:
    """The status with what its last attempt reports of checkpoints, be it going on or its pods still ending, and of how
    it trains."""
    if report is None or not status.attempts:
        return status
    last = status.attempts[-1]
    said, done, before = checkpoint_of(report), _progress_of(report), status.progress
    changes = {"resumed_step": said.resumed_step} if said else {}
    if last.completion_time is not None:
        changes |= {"last_step": done.step} if done else {}
    elif done is None and before is not None:  # a queue gave it hardware again, on which it begins once more
        changes["last_step"] = before.step
    attempts = [*status.attempts[:-1], last.model_copy(update=changes)]
    merged, resolved = _merged(status.checkpoint, said), report.resolved or status.resolved
    return status.model_copy(update={"attempts": attempts, "checkpoint": merged, "resolved": resolved})


def checkpoint_of(report: RunReport | None) -> CheckpointStatus | None:
    """What an attempt says of its checkpoints, at its end or before."""
    ended = report.finished.checkpoint if report and report.finished else None
    return ended or (report.checkpoint if report else None)


def _progress_of(report: RunReport) -> Progress | None:
    return (report.finished.progress if report.finished else None) or report.progress


def has_saved(report: RunReport | None) -> bool:
    """Whether an execution has committed a checkpoint of its own, so that the next one begins further on."""
    said = checkpoint_of(report)
    return said is not None and said.time is not None


def _merged(known: CheckpointStatus | None, said: CheckpointStatus | None) -> CheckpointStatus | None:
    """What an execution says of its checkpoints; what it has not measured yet stays as an earlier one measured it."""
    if said is None or known is None:
        return said or known
    measured = ("size_bytes", "stall_seconds", "upload_seconds")
    update = {name: getattr(known, name) for name in measured if getattr(said, name) is None}
    if said.step == known.step:
        update |= {"time": said.time or known.time}
    return said.model_copy(update=update)


def without_failures(known: CheckpointStatus | None) -> CheckpointStatus | None:
    """What is known of the checkpoints when an attempt begins, none of whose own could not be saved."""
    return known and known.model_copy(update={"failures": 0, "message": None})


def steps_done_again(before: FineTuneJobStatus, after: FineTuneJobStatus) -> int | None:
    """How many steps were lost, at the change of a status with which a training that had been ended goes on; None at
    any other change."""
    if before.progress is not None or after.progress is None or not before.attempts:
        return None
    done = next((attempt.last_step for attempt in reversed(before.attempts) if attempt.last_step is not None), None)
    return None if done is None else max(0, done - (after.attempts[-1].resumed_step or 0))


def failed_saves(before: FineTuneJobStatus, after: FineTuneJobStatus) -> int:
    """How many checkpoints could not be saved between two statuses."""
    was, now = (status.checkpoint.failures if status.checkpoint else 0 for status in (before, after))
    return now - was if now >= was else now


def next_beginning(status: FineTuneJobStatus) -> str:
    """Where the next attempt begins, for people."""
    step = status.checkpoint.step if status.checkpoint else None
    return f"goes on behind step {step:,}" if step else "starts from the pretrained model"


def unsaved(status: FineTuneJobStatus) -> str:
    """That checkpoints cannot be saved, as a sentence; empty where they can."""
    known = status.checkpoint
    if known is None or not known.failures:
        return ""
    why = (known.message or "a checkpoint was not saved; the log says why").rstrip(".")
    return why + (f" ({known.failures:,} in a row)" if known.failures > 1 else "")
