import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kubetune_api.status import FineTuneJobStatus
from kubetune_operator.jobs.fine_tune_job import FineTuneJobs
from kubetune_operator.jobs.metrics import JobMetrics
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.machinery.api_server import ApiError
from kubetune_operator.machinery.kinds import EVENT, Kind
from kubetune_operator.machinery.pages import Page
from kubetune_operator.machinery.plan import Plan
from kubetune_operator.settings import Settings
from support.in_memory_api import InMemoryApi, controller_of, works
from support.observed_jobs import (
    JOB,
    SETTINGS,
    START,
    UID,
    Object,
    at,
    attempt,
    failed,
    job,
    jobs_kind,
    name_of,
    namespace,
    pod,
    profile,
    progress,
    ray_job,
    report,
    started,
    terminated,
    waiting,
)


async def look_after_the_job_of(api: InMemoryApi, *heard: Object, later: tuple[Object, ...] = ()) -> None:
    """The answers to writes are there before any watch tells anything."""
    controller = controller_of(api, [jobs_kind()], SETTINGS, lambda: START)
    for told in ((namespace(), profile(), api.objects["FineTuneJob", JOB], *heard), later):
        for thing in told:
            controller.on_event("put", thing)
        await works(controller)


def test_the_job_knows_of_its_ray_job_though_no_watch_tells_of_it() -> None:
    api = InMemoryApi(job())
    asyncio.run(look_after_the_job_of(api))
    assert [thing["kind"] for thing in api.created if thing["kind"] == "RayJob"] == ["RayJob"]
    (attempt,) = api.objects["FineTuneJob", JOB]["status"]["attempts"]
    assert "rayJobUid" in attempt
    assert api.objects["FineTuneJob", JOB]["status"]["reason"] == "WaitingForPods"


def test_a_pod_that_failed_and_was_deleted_before_anybody_looked_tells_why() -> None:
    """KubeRay deletes a worker that failed at once, and the API server lets it go as soon."""
    killed = pod(container=terminated(137, "OOMKilled"), phase="Failed")
    api = InMemoryApi(job(started(attempt(runningTime=at(-100)))))
    controller = controller_of(api, [jobs_kind()], SETTINGS, lambda: START)

    async def life() -> None:
        for thing in (namespace(), profile(), api.objects["FineTuneJob", JOB], ray_job(1, "Running"), killed):
            controller.on_event("put", thing)
        controller.on_event("gone", killed)
        await works(controller)

    asyncio.run(life())
    (shown,) = api.objects["FineTuneJob", JOB]["status"]["attempts"]
    assert shown["reason"] == "OutOfMemory"


@pytest.mark.parametrize(
    ("pods", "deleted"),
    [
        pytest.param([], {name_of(1)}, id="none"),
        pytest.param([pod("head", phase="Failed")], {name_of(1)}, id="one that has ended"),
        pytest.param([pod("head", phase="Running", deleting=True)], {name_of(1)}, id="one that is going"),
        pytest.param([pod("head", attempt=2, phase="Running")], {name_of(1)}, id="one of another attempt"),
        pytest.param([pod("head", phase="Running")], set(), id="one that no watch told of"),
    ],
)
def test_a_run_without_a_head_ends_only_if_the_api_server_knows_none(pods: list[Object], deleted: set[str]) -> None:
    api = InMemoryApi(*pods, job(started(attempt(runningTime=at(-100), headGoneTime=at(-90)))))
    asyncio.run(look_after_the_job_of(api, ray_job(1, "Running")))
    assert set(api.deleted) == deleted
    (shown,) = api.objects["FineTuneJob", JOB]["status"]["attempts"]
    assert ("completionTime" in shown) == bool(deleted)


def test_a_server_that_tells_no_events_keeps_no_attempt_from_its_end() -> None:
    """One look a second did nothing as long as the server failed at the question why a pod is stuck."""

    class WithoutEvents(InMemoryApi):
        async def pages(self, kind: Kind, **how: Any) -> AsyncGenerator[Page, None]:
            if kind == EVENT:
                raise ApiError("LIST events", status=500, reason="InternalError", message="no store for events")
            async for page in super().pages(kind, **how):
                yield page

    stuck = pod(container=waiting("ImagePullBackOff", 'Back-off pulling image "trainer:1"'))
    since = attempt(stuckPod=stuck["metadata"]["name"], stuckTime=at(-300))
    api = WithoutEvents(job(started(since)))
    asyncio.run(look_after_the_job_of(api, ray_job(1), stuck))
    (shown,) = api.objects["FineTuneJob", JOB]["status"]["attempts"]
    assert (shown["reason"], set(api.deleted)) == ("RegistryUnavailable", {name_of(1)})


def test_a_step_is_written_now_and_then_and_what_becomes_of_the_job_at_once() -> None:
    running = (ray_job(1, "Running"), pod("head", phase="Running"), report(progress=progress(3)))
    api = InMemoryApi(job(started(attempt(runningTime=at(0)))))
    asyncio.run(look_after_the_job_of(api, *running, later=(report(progress=progress(4)),)))
    assert api.objects["FineTuneJob", JOB]["status"]["progress"]["step"] == 3
    api = InMemoryApi(job(started(attempt(runningTime=at(0)))))
    ended = report(progress=progress(4), finished=failed("InvalidData"))
    asyncio.run(look_after_the_job_of(api, *running, later=(ended,)))
    assert api.objects["FineTuneJob", JOB]["status"]["phase"] == "Failed"


def test_a_ray_job_of_the_expected_name_that_somebody_else_made_is_refused_with_a_remedy() -> None:
    """S7: its labels are right, and it was there first."""
    squatted = ray_job(1, "Running")
    squatted["metadata"]["ownerReferences"] = []
    api = InMemoryApi(job(), squatted)
    asyncio.run(look_after_the_job_of(api, api.objects["RayJob", name_of(1)]))
    status = api.objects["FineTuneJob", JOB]["status"]
    assert status["reason"] == "CreationRefused"
    assert f"kubectl delete rayjobs {name_of(1)} --namespace team-a" in status["message"]
    assert "rayJobUid" not in status["attempts"][0]


@pytest.mark.parametrize("owner", [{"uid": "of-another", "controller": True}, {"uid": UID}])
def test_a_ray_job_is_a_jobs_own_by_its_controller_alone(owner: Object) -> None:
    """S7"""
    squatted = ray_job(1, "Running")
    squatted["metadata"]["ownerReferences"] = [owner]
    api = InMemoryApi(job(), squatted)
    asyncio.run(look_after_the_job_of(api, api.objects["RayJob", name_of(1)]))
    assert api.objects["FineTuneJob", JOB]["status"]["reason"] == "CreationRefused"


@pytest.mark.parametrize("workers", [1, 16])
def test_others_have_their_turn_between_two_looks_that_wait_for_nothing(workers: int) -> None:
    """S3: a thousand looks at suspended jobs must hold up neither the renewal of the Lease nor the watches, which need
    several turns to tell of one change."""
    suspended = [job(metadata={"name": f"job-{number}", "uid": f"uid-{number}"}, suspend=True) for number in range(50)]
    turns: list[int] = []
    looks = 0

    class Counted(FineTuneJobs):
        def reconcile(self, seen: Observed, settings: Settings, now: datetime) -> Plan[FineTuneJobStatus]:
            nonlocal looks
            looks += 1
            return Plan(seen.job.status)

    kind = Counted(JobMetrics(CollectorRegistry()), kuberay=lambda: True)

    async def scenario() -> None:
        controller = controller_of(InMemoryApi(), [kind], SETTINGS, lambda: START)
        for thing in suspended:
            controller.on_event("put", thing)
        working = [asyncio.create_task(controller.work()) for _ in range(workers)]
        while looks < len(suspended):
            await asyncio.sleep(0)
            turns.append(looks)
        for task in working:
            task.cancel()

    asyncio.run(scenario())
    assert max(after - before for before, after in pairwise(turns)) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param((500, "InternalError", "failed calling webhook policy.example: refused"), id="a webhook"),
        pytest.param((503, "ServiceUnavailable", "the store has no leader"), id="its store"),
        pytest.param((0, "Unreachable", "no answer within 30 seconds"), id="a webhook that hangs"),
    ],
)
def test_an_error_of_the_api_server_is_told_once_it_lasts(refusal: tuple[int, str, str]) -> None:
    """O3: it is no refusal, and may be over at the next try; but nobody looks for it in the operator's log."""
    api = InMemoryApi(job())
    api.refuses, api.refusal = {"RayJob"}, refusal
    controller = controller_of(api, [jobs_kind()], SETTINGS, lambda: START)
    for thing in (namespace(), profile(), api.objects["FineTuneJob", JOB]):
        controller.on_event("put", thing)

    async def reasons_of(looks: int) -> list[str]:
        reasons = []
        for _ in range(looks):
            controller.look_at_all()
            await works(controller)
            reasons.append(api.objects["FineTuneJob", JOB]["status"]["reason"])
        return reasons

    async def life() -> tuple[list[str], str, list[str]]:
        failing = await reasons_of(4)
        message = str(api.objects["FineTuneJob", JOB]["status"]["message"])
        api.refuses = set()
        return failing, message, await reasons_of(1)

    failing, message, then = asyncio.run(life())
    assert (failing[0], failing[-1]) == ("Starting", "CreationRefused")
    assert refusal[2] in message
    assert then == ["WaitingForPods"]
