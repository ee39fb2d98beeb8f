import asyncio
import copy
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from kubetune_operator.application import kinds_of
from kubetune_operator.machinery.api_server import ApiClient
from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.controller import Controller
from kubetune_operator.machinery.kinds import Kind
from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.machinery.queue import WorkQueue
from support.observed_jobs import (
    SETTINGS,
    START,
    Object,
    at,
    attempt,
    job,
    jobs_kind,
    name_of,
    namespace,
    pod,
    profile,
    ray_job,
    started,
)


class QuickServer:
    """An API server that takes everything, and whose answers are always there before its watches tell anything."""

    def __init__(self, *pods: Object, status: Object | None = None) -> None:
        self.job = job(status)
        self.pods = list(pods)
        """Those that a list shows; no watch tells of them."""
        self.deleted: set[str] = set()
        self.created: list[Object] = []
        self._version = 1_000_000

    async def patch_status(self, _: Kind, __: str, ___: str, patch: Object, **____: Any) -> Object:
        self.job = self._stored({**self.job, "status": {**self.job.get("status", {}), **patch}})
        return copy.deepcopy(self.job)

    async def apply(self, _: Kind, thing: Object) -> Object:
        return self._stored(thing)

    async def create(self, _: Kind, thing: Object) -> Object:
        self.created.append(thing)
        return self._stored(thing)

    async def list(self, *_: Any, **__: Any) -> tuple[list[Object], str]:
        return self.pods, str(self._version)

    async def delete(self, _: Kind, __: str, name: str, **___: Any) -> None:
        self.deleted.add(name)

    def _stored(self, thing: Object) -> Object:
        self._version += 1
        own = {
            "uid": f"uid-{self._version}",
            "creationTimestamp": "2026-05-01T12:00:00Z",
            **thing["metadata"],
            "resourceVersion": str(self._version),
        }
        return {**thing, "metadata": own}


async def look_after_the_job_of(server: QuickServer, *heard: Object) -> None:
    kinds = [jobs_kind()]
    controller = Controller(
        cast("ApiClient", server),
        Cache(kinds),
        WorkQueue(),
        kinds,
        SETTINGS,
        Metrics(CollectorRegistry(), kinds_of(kinds)),
        may_write=lambda: True,
        now=lambda: START,
    )
    for thing in (namespace(), profile(), server.job, *heard):
        controller.on_event("put", thing)
    worker = asyncio.create_task(controller.work())
    for _ in range(1000):  # nothing of it waits for anything but its turn
        await asyncio.sleep(0)
    worker.cancel()


def test_the_job_knows_of_its_ray_job_though_no_watch_tells_of_it() -> None:
    server = QuickServer()
    asyncio.run(look_after_the_job_of(server))
    assert [thing["kind"] for thing in server.created if thing["kind"] == "RayJob"] == ["RayJob"]
    (attempt,) = server.job["status"]["attempts"]
    assert "rayJobUid" in attempt
    assert server.job["status"]["reason"] == "WaitingForPods"


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
    server = QuickServer(*pods, status=started(attempt(runningTime=at(-100), headGoneTime=at(-90))))
    asyncio.run(look_after_the_job_of(server, ray_job(1, "Running")))
    assert server.deleted == deleted
    (shown,) = server.job["status"]["attempts"]
    assert ("completionTime" in shown) == bool(deleted)
