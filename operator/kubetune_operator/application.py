"""One replica of the operator: everything that runs in it, on one event loop."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any

from kubetune_operator.jobs import names
from kubetune_operator.machinery.api_server import ApiError, Cluster
from kubetune_operator.machinery.connection import Connection
from kubetune_operator.machinery.controller import Controller
from kubetune_operator.machinery.http import serve
from kubetune_operator.machinery.informer import Informer
from kubetune_operator.machinery.kinds import (
    CONFIG_MAP,
    FINE_TUNE_JOB,
    FINE_TUNE_PROFILE,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    RAY_CLUSTER,
    RAY_JOB,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    Kind,
)
from kubetune_operator.machinery.leader import Leader, new_identity
from kubetune_operator.machinery.queue import WorkQueue
from kubetune_operator.machinery.store import Cache
from kubetune_operator.machinery.watch import missing, run_watch
from kubetune_operator.metrics import JobView, Metrics, waiting_since
from kubetune_operator.settings import Settings

_CHILDREN = (RAY_JOB, RAY_CLUSTER, POD, CONFIG_MAP, ROLE, ROLE_BINDING, SERVICE_ACCOUNT, NETWORK_POLICY)
_PRODUCT = f"{names.MANAGED_BY}={names.PRODUCT}"
_TOO_LONG = 120.0
"""Seconds without a word from the API server about a kind, after which the cache is not to be trusted."""
_log = logging.getLogger(__name__)


class Application:
    """One replica."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings, self._connection = settings, connection
        self._metrics, self._cache, self._queue = Metrics(), Cache(), WorkQueue()
        self._leader: Leader | None = None
        self._informers: dict[Kind, Informer] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set."""
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(
                Cluster(self._connection, self._may_write, self._metrics.api_request)
            )
            controller = Controller(
                cluster,
                self._cache,
                self._queue,
                self._settings,
                self._metrics,
                may_write=self._may_write,
                kuberay=lambda: not self._informers[RAY_JOB].absent,
                now=_now,
            )
            self._inform(cluster, controller)
            self._leader = Leader(
                cluster,
                self._settings,
                new_identity(self._settings),
                on_elected=lambda: self._elected(controller),
                on_lost=lambda: self._metrics.leading(False),
            )
            self._metrics.collect_jobs(self._counted, _now)
            self._metrics.collect_queue_length(lambda: len(self._queue))
            await stack.enter_async_context(serve(self._settings, self._metrics, self._unhealthy, self._unready))
            await self._live(cluster, controller, stop)

    def _inform(self, cluster: Cluster, controller: Controller) -> None:
        self._informers = {
            kind: Informer(cluster, kind, selector=selector, on_change=controller.heard, on_listed=controller.listed)
            for kinds, selector in ((_CHILDREN, _PRODUCT), ((FINE_TUNE_PROFILE, NAMESPACE), ""))
            for kind in kinds
        }
        for kind, informer in self._informers.items():
            self._metrics.collect_synced(kind.plural, informer.is_current)

    async def _live(self, cluster: Cluster, controller: Controller, stop: asyncio.Event) -> None:
        """The informers first: what a job needs must be known before the job is looked at."""
        assert self._leader is not None
        async with asyncio.TaskGroup() as tasks:
            leading = tasks.create_task(self._leader.run())
            running = [tasks.create_task(informer.run()) for informer in self._informers.values()]
            tasks.create_task(self._end(stop, running, leading))
            await self._first_of(stop, self._learn(cluster, controller))
            if stop.is_set():
                return
            running.append(tasks.create_task(run_watch(self._connection, controller.heard, stop)))
            running.append(tasks.create_task(self._resync(cluster, controller)))
            running += [tasks.create_task(controller.work()) for _ in range(self._settings.reconcile_workers)]

    async def _end(self, stop: asyncio.Event, running: list[asyncio.Task[None]], leading: asyncio.Task[None]) -> None:
        """Whatever writes has ended before the Lease is given back."""
        await stop.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        leading.cancel()

    async def _first_of(self, stop: asyncio.Event, until: Coroutine[Any, Any, None]) -> None:
        ends = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(until)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in ends:
            task.cancel()

    async def _learn(self, cluster: Cluster, controller: Controller) -> None:
        await self._synced()
        await self._learn_jobs(cluster, controller)

    async def _synced(self) -> None:
        for informer in self._informers.values():
            await informer.synced.wait()

    async def _learn_jobs(self, cluster: Cluster, controller: Controller) -> None:
        """All jobs at once: kopf tells of each one in a task of its own, which takes four times as long."""
        with suppress(ApiError):  # kopf waits for the CRD, and tells of every job anyway
            for job in (await cluster.list(FINE_TUNE_JOB))[0]:
                controller.heard("put", job)

    async def _resync(self, cluster: Cluster, controller: Controller) -> None:
        """Level-triggered to the end: now and then every job is looked at, whatever was heard or missed of it."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            known = {job.uid: f"{job.namespace}/{job.name}" for job in self._cache.jobs()}
            try:
                for uid in await missing(cluster, set(known)):
                    self._cache.forget_job(known[uid], uid)
            except Exception:
                _log.exception("the jobs could not be compared with those of the API server")
            controller.look_at_all()

    def _may_write(self) -> bool:
        return self._leader is not None and self._leader.may_write()

    def _elected(self, controller: Controller) -> None:
        self._metrics.leading(True)
        controller.look_at_all()

    def _counted(self) -> list[JobView]:
        return [
            JobView(
                job.namespace,
                job.status.phase or "Pending",
                job.status.reason or "",
                waiting_since(job.status, job.created_at),
            )
            for job in self._cache.jobs()
        ]

    def _unhealthy(self) -> str | None:
        return None

    def _unready(self) -> str | None:
        now = time.monotonic()
        for kind, informer in self._informers.items():
            if not informer.synced.is_set():
                return f"the {kind.plural} are not known yet"
            if informer.failing_since is not None and now - informer.failing_since > _TOO_LONG:
                return f"the {kind.plural} could not be watched for {now - informer.failing_since:.0f} s"
        return None


def _now() -> datetime:
    return datetime.now(UTC)
