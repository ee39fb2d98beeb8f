import asyncio

import pytest

from support.in_memory_api import InMemoryApi, controller_of, works
from support.observed_jobs import (
    JOB,
    SETTINGS,
    START,
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


def test_a_step_is_written_now_and_then_and_what_becomes_of_the_job_at_once() -> None:
    running = (ray_job(1, "Running"), pod("head", phase="Running"), report(progress=progress(3)))
    api = InMemoryApi(job(started(attempt(runningTime=at(0)))))
    asyncio.run(look_after_the_job_of(api, *running, later=(report(progress=progress(4)),)))
    assert api.objects["FineTuneJob", JOB]["status"]["progress"]["step"] == 3
    api = InMemoryApi(job(started(attempt(runningTime=at(0)))))
    ended = report(progress=progress(4), finished=failed("InvalidData"))
    asyncio.run(look_after_the_job_of(api, *running, later=(ended,)))
    assert api.objects["FineTuneJob", JOB]["status"]["phase"] == "Failed"
