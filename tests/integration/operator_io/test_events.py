"""The real API server takes every event that the operator makes, once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.status import LONGEST_OF_ATTEMPT, Artifact, Attempt, Condition, FineTuneJobStatus
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB
from kubetune_operator.machinery.events import Regarding
from kubetune_operator.machinery.kinds import EVENT, NAMESPACE, Object
from servers.kube import ApiServer
from support.observed_jobs import events_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
JOB = Regarding(
    FINE_TUNE_JOB, "team-events", "a-name-of-thirty-seven-letters-as-lon", "0a1b2c3d-0000-4000-8000-000000000001"
)
LONGEST_MESSAGE = "模" * 4096
LONGEST_REASON = "R" * 128
LONGEST_INSTANCE = "kubetune-operator-" + "0" * 200
EMPTY = FineTuneJobStatus()


@pytest.fixture(scope="module")
def api(api_server: ApiServer) -> Iterator[ApiServer]:
    answer = api_server.create(
        NAMESPACE.path(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": JOB.namespace}}
    )
    assert answer.accepted, answer.message
    yield api_server
    api_server.delete(NAMESPACE.path(name=JOB.namespace))


def condition(kind: Any, status: Any, reason: str = Reason.UNKNOWN) -> Condition:
    return Condition(
        type=kind, status=status, reason=reason, message=LONGEST_MESSAGE, last_transition_time="2026-05-01T10:00:00Z"
    )


def attempt(reason: str | None = None) -> Attempt:
    seen = "2026-05-01T10:00:00Z"
    return Attempt(
        number=1,
        ray_job="reviews-0a1b2-1",
        start_time=seen,
        running_time=seen,
        completion_time=seen if reason else None,
        reason=reason,
        message=LONGEST_MESSAGE[:LONGEST_OF_ATTEMPT],
    )


SUSPENDED = FineTuneJobStatus(phase="Suspended", conditions=[condition("Suspended", "True")])
ARTIFACT = Artifact(
    uri=f"s3://{'m' * 2043}",
    manifest_uri="s3://models/manifest.json",
    report_uri="s3://models/report.html",
    digest=f"sha256:{'0' * 64}",
    size_bytes=1,
)
TRANSITIONS = {
    "started and training": (EMPTY, FineTuneJobStatus(attempts=[attempt()])),
    "an attempt failed": (
        FineTuneJobStatus(attempts=[attempt()]),
        FineTuneJobStatus(attempts=[attempt(LONGEST_REASON)]),
    ),
    "suspended": (EMPTY, SUSPENDED),
    "resumed": (SUSPENDED, FineTuneJobStatus(phase="Pending", reason=Reason.RESUMED)),
    "refused": (EMPTY, FineTuneJobStatus(conditions=[condition("Accepted", "False", LONGEST_REASON)])),
    "waiting": (EMPTY, FineTuneJobStatus(phase="Pending", reason=LONGEST_REASON, message=LONGEST_MESSAGE)),
    "succeeded": (EMPTY, FineTuneJobStatus(conditions=[condition("Succeeded", "True")], artifact=ARTIFACT)),
    "failed": (EMPTY, FineTuneJobStatus(conditions=[condition("Failed", "True")])),
}


def events(before: FineTuneJobStatus, after: FineTuneJobStatus, now: datetime = NOW) -> list[Object]:
    return events_of(JOB, before, after, now, LONGEST_INSTANCE)


@pytest.mark.parametrize(("before", "after"), TRANSITIONS.values(), ids=TRANSITIONS.keys())
def test_the_server_takes_an_event_at_its_longest_and_only_once(
    api: ApiServer, before: FineTuneJobStatus, after: FineTuneJobStatus
) -> None:
    made = events(before, after)
    assert made
    for event in made:
        first = api.create(EVENT.path(JOB.namespace), event)
        assert first.status == 201, first.message
        assert first.warnings == ()
    for event in events(before, after, NOW.replace(hour=13)):
        assert api.create(EVENT.path(JOB.namespace), event).status == 409


def test_kubectl_describe_finds_the_events_by_the_job(api: ApiServer) -> None:
    other = Regarding(FINE_TUNE_JOB, JOB.namespace, "found", "0a1b2c3d-0000-4000-8000-000000000009")
    (event,) = events_of(other, EMPTY, SUSPENDED, NOW, "operator-0")
    assert api.create(EVENT.path(JOB.namespace), event).status == 201
    # The selector of `kubectl describe`, which reads them in the older form of the API.
    selector = f"involvedObject.name=found,involvedObject.kind=FineTuneJob,involvedObject.uid={other.uid}"
    (found,) = api.get(f"/api/v1/namespaces/{JOB.namespace}/events", fieldSelector=selector).body["items"]
    assert (found["type"], found["reason"], found["message"]) == ("Normal", "Suspended", event["note"])
    assert found["eventTime"] == "2026-05-01T12:00:00.000000Z"
