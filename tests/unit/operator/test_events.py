from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.status import Artifact, Attempt, Condition, FineTuneJobStatus
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB
from kubetune_operator.machinery.events import MAX_NOTE_BYTES, Regarding
from kubetune_operator.machinery.kinds import Object
from support.observed_jobs import events_of

JOB = Regarding(FINE_TUNE_JOB, "team-a", "reviews", "0a1b2c3d-0000-4000-8000-000000000001")
NOW = datetime(2026, 5, 1, 12, 0, 0, 250, tzinfo=UTC)
EMPTY = FineTuneJobStatus()


def at(minute: int) -> str:
    return f"2026-05-01T10:{minute:02}:00Z"


def condition(kind: Any, status: Any, reason: str, message: str = "So it is.", since: int = 0) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=at(since))


def status(
    *conditions: Condition,
    phase: Any = "Pending",
    reason: str | None = None,
    attempts: tuple[Attempt, ...] = (),
    generation: int = 1,
    **more: Any,
) -> FineTuneJobStatus:
    return FineTuneJobStatus(
        observed_generation=generation,
        phase=phase,
        reason=reason,
        message="So it is.",
        conditions=list(conditions),
        attempts=list(attempts),
        **more,
    )


def attempt(number: int = 1, *, running: bool = False, reason: str | None = None, message: str = "") -> Attempt:
    return Attempt(
        number=number,
        ray_job=f"reviews-0a1b2-{number}",
        start_time=at(0),
        running_time=at(1) if running else None,
        completion_time=at(2) if reason else None,
        reason=reason,
        message=message or None,
    )


def told(before: FineTuneJobStatus | None, after: FineTuneJobStatus) -> list[tuple[str, str, str]]:
    """Type, reason and note of each event."""
    return [(event["type"], event["reason"], event["note"]) for event in events(before, after)]


def events(before: FineTuneJobStatus | None, after: FineTuneJobStatus, now: datetime = NOW) -> list[Object]:
    return events_of(JOB, before, after, now, "operator-0")


ACCEPTED = condition("Accepted", "True", Reason.ACCEPTED)
SUSPENDED = condition("Suspended", "True", Reason.SUSPENDED, "spec.suspend is true.", since=5)
RESUMED = condition("Suspended", "False", Reason.RESUMED, since=9)
ARTIFACT = Artifact(
    uri="s3://models/team-a/reviews/model",
    manifest_uri="s3://models/team-a/reviews/manifest.json",
    report_uri="s3://models/team-a/reviews/report.html",
    digest=f"sha256:{'0' * 64}",
    size_bytes=1,
)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        pytest.param(
            status(ACCEPTED),
            status(ACCEPTED, attempts=(attempt(),)),
            [("Normal", "AttemptStarted", "Attempt 1 starts as RayJob reviews-0a1b2-1.")],
            id="an attempt starts",
        ),
        pytest.param(
            status(ACCEPTED, attempts=(attempt(),)),
            status(ACCEPTED, phase="Running", reason=Reason.TRAINING, attempts=(attempt(running=True),)),
            [("Normal", "TrainingStarted", "The trainer of attempt 1 has started.")],
            id="its training begins",
        ),
        pytest.param(
            status(phase="Running", reason=Reason.TRAINING, attempts=(attempt(running=True),)),
            status(
                phase="Running",
                reason=Reason.TRAINING,
                attempts=(attempt(running=True, reason=Reason.OUT_OF_MEMORY, message="A worker\nhad too little."),),
            ),
            [("Warning", "OutOfMemory", "Attempt 1 ended: A worker had too little.")],
            id="an attempt fails",
        ),
        pytest.param(
            status(phase="Running", attempts=(attempt(running=True),)),
            status(phase="Pending", reason=Reason.WAITING_TO_RETRY, attempts=(attempt(reason=Reason.NODE_LOST),)),
            [
                ("Warning", "NodeLost", "Attempt 1 ended: nothing more is known."),
                ("Normal", "WaitingToRetry", "So it is."),
            ],
            id="an attempt fails and the job waits for the next",
        ),
        pytest.param(
            status(phase="Running", attempts=(attempt(running=True),)),
            status(SUSPENDED, phase="Suspended", attempts=(attempt(running=True, reason=Reason.SUSPENDED),)),
            [("Normal", "Suspended", "spec.suspend is true.")],
            id="a suspended job's attempt has not failed",
        ),
        pytest.param(
            status(SUSPENDED, phase="Suspended", reason=Reason.SUSPENDED),
            status(RESUMED, phase="Pending", reason=Reason.RESUMED),
            [("Normal", "Resumed", "So it is.")],
            id="a resumed job says so once",
        ),
        pytest.param(
            None,
            status(condition("Accepted", "False", Reason.DOES_NOT_FIT, "It needs 96 GiB."), reason=Reason.DOES_NOT_FIT),
            [("Warning", "DoesNotFit", "It needs 96 GiB.")],
            id="a job is refused",
        ),
        pytest.param(
            status(condition("Accepted", "False", Reason.DOES_NOT_FIT, "It needs 96 GiB.")),
            status(condition("Accepted", "False", Reason.DOES_NOT_FIT, "It needs 90 GiB.")),
            [("Warning", "DoesNotFit", "It needs 90 GiB.")],
            id="a refusal has a new message",
        ),
        pytest.param(
            status(condition("Accepted", "False", Reason.DOES_NOT_FIT), reason=Reason.DOES_NOT_FIT),
            status(ACCEPTED, reason=Reason.WAITING_FOR_QUOTA),
            [("Normal", "WaitingForQuota", "So it is.")],
            id="a refused job is accepted and waits",
        ),
        pytest.param(
            status(ACCEPTED, phase="Running", attempts=(attempt(running=True),)),
            status(
                condition("Succeeded", "True", Reason.PUBLISHED, "The model is verified and published."),
                phase="Succeeded",
                reason=Reason.PUBLISHED,
                attempts=(attempt(running=True, reason=Reason.PUBLISHED),),
                artifact=ARTIFACT,
            ),
            [
                (
                    "Normal",
                    "Succeeded",
                    "The model is verified and published. It is at s3://models/team-a/reviews/model",
                )
            ],
            id="a job succeeds",
        ),
        pytest.param(
            status(ACCEPTED),
            status(condition("Failed", "True", Reason.INVALID_DATA, "Row 3 has no label."), phase="Failed"),
            [("Warning", "Failed", "InvalidData: Row 3 has no label.")],
            id="a job fails",
        ),
        pytest.param(
            status(ACCEPTED),
            status(
                condition("Accepted", "False", Reason.INVALID_MANIFEST),
                condition("Failed", "True", Reason.INVALID_MANIFEST, "There is no such field."),
                phase="Failed",
            ),
            [("Warning", "Failed", "InvalidManifest: There is no such field.")],
            id="a job that fails by being refused says so once",
        ),
    ],
)
def test_transitions_are_told(
    before: FineTuneJobStatus | None, after: FineTuneJobStatus, wanted: list[tuple[str, str, str]]
) -> None:
    assert told(before, after) == wanted
    assert told(after, after) == [], "what is so already is no transition"


def test_progress_is_no_event() -> None:
    before = status(
        phase="Running", reason=Reason.TRAINING, attempts=(attempt(running=True),), workers=2, ready_workers=1
    )
    after = status(
        phase="Running", reason=Reason.TRAINING, attempts=(attempt(running=True),), workers=2, ready_workers=2
    )
    assert told(before, after) == []


def test_a_message_that_changes_while_the_reason_stays_is_no_event() -> None:
    before = status(ACCEPTED, reason=Reason.WAITING_FOR_PODS)
    after = before.model_copy(update={"message": "2 of 3 workers are ready."})
    assert told(before, after) == []


def test_a_repeated_reconcile_makes_the_same_events() -> None:
    before = status(ACCEPTED, attempts=(attempt(),))
    after = status(SUSPENDED, phase="Suspended", attempts=(attempt(reason=Reason.NODE_LOST), attempt(2)))
    # After a crash the condition is made anew, at a later time.
    later = status(
        SUSPENDED.model_copy(update={"last_transition_time": at(30)}), phase="Suspended", attempts=tuple(after.attempts)
    )
    first, second = events(before, after), events(before, later, NOW + timedelta(minutes=25))
    assert [event["metadata"]["name"] for event in first] == [event["metadata"]["name"] for event in second]
    assert len({event["metadata"]["name"] for event in first}) == len(first) == 3


def test_each_suspension_has_an_event_of_its_own() -> None:
    again = condition("Suspended", "True", Reason.SUSPENDED, since=12)
    steps = [
        status(generation=1),
        status(SUSPENDED, phase="Suspended", generation=2),
        status(RESUMED, reason=Reason.RESUMED, generation=3),
        status(again, phase="Suspended", generation=4),
    ]
    made = [event for before, after in pairwise(steps) for event in events(before, after)]
    assert [event["reason"] for event in made] == ["Suspended", "Resumed", "Suspended"]
    assert len({event["metadata"]["name"] for event in made}) == 3


def test_training_that_begins_again_in_the_same_attempt_has_an_event_of_its_own() -> None:
    first = attempt(running=True)
    taken = first.model_copy(update={"running_time": None, "ran_seconds": 90})
    again = taken.model_copy(update={"running_time": at(8)})
    steps = [status(phase="Running", attempts=(known,)) for known in (attempt(), first, taken, again)]
    made = [event for before, after in pairwise(steps) for event in events(before, after)]
    assert [event["reason"] for event in made] == ["TrainingStarted", "TrainingStarted"]
    assert len({event["metadata"]["name"] for event in made}) == 2


def test_a_job_made_anew_under_the_same_name_has_events_of_its_own() -> None:
    after = status(attempts=(attempt(),))
    other = Regarding(FINE_TUNE_JOB, JOB.namespace, JOB.name, "0a1b2c3d-0000-4000-8000-000000000002")
    (one,), (two,) = events(EMPTY, after), events_of(other, EMPTY, after, NOW, "operator-0")
    assert one["metadata"]["name"] != two["metadata"]["name"]


def test_an_event_names_the_job_its_reporter_and_the_time() -> None:
    paris = timezone(timedelta(hours=2))
    (event,) = events(EMPTY, status(attempts=(attempt(),)), NOW.astimezone(paris))
    assert event["eventTime"] == "2026-05-01T12:00:00.000250Z"
    assert event["metadata"]["namespace"] == "team-a"
    assert (event["reportingController"], event["reportingInstance"]) == ("kubetune.dev/operator", "operator-0")
    assert event["regarding"] == {
        "apiVersion": "kubetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "namespace": "team-a",
        "name": "reviews",
        "uid": JOB.uid,
    }


@pytest.mark.parametrize("letter", ["x", "é", "模", "🦙"], ids=["1 byte", "2 bytes", "3 bytes", "4 bytes"])
def test_a_long_note_is_cut_between_characters(letter: str) -> None:
    after = status(condition("Failed", "True", Reason.UNKNOWN, letter * 4000), phase="Failed")
    (event,) = events(EMPTY, after)
    assert MAX_NOTE_BYTES - 4 < len(event["note"].encode()) <= MAX_NOTE_BYTES
    assert event["note"].startswith(f"Unknown: {letter}")
    assert event["note"].endswith(f"{letter}…")


@pytest.mark.parametrize(
    ("reason", "shown"), [("Bad\nReason\x1b", "Bad Reason"), ("\n", "Unknown")], ids=["several lines", "nothing"]
)
def test_a_reason_is_one_line_and_never_empty(reason: str, shown: str) -> None:
    (event,) = events(status(attempts=(attempt(),)), status(attempts=(attempt(reason=reason),)))
    assert event["reason"] == shown
