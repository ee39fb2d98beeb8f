"""One replica of the operator: everything that runs in it, on one event loop."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from kubetune_operator.jobs.fine_tune_job import FineTuneJobs
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB, RAY_JOB
from kubetune_operator.jobs.metrics import JobMetrics, JobSample, sample_of
from kubetune_operator.machinery.api_server import ApiClient, ApiError
from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.connection import Connection
from kubetune_operator.machinery.controller import Controller
from kubetune_operator.machinery.entries import ObjectKey
from kubetune_operator.machinery.http import serve
from kubetune_operator.machinery.informer import Informer
from kubetune_operator.machinery.kinds import EVENT, LEASE, NAMESPACE, Kind
from kubetune_operator.machinery.labels import SELECTOR
from kubetune_operator.machinery.leader import Leader, new_identity
from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.machinery.queue import WorkQueue
from kubetune_operator.machinery.reconciler import Reconciler
from kubetune_operator.machinery.watch import all_of, run_watch
from kubetune_operator.settings import Settings

_TOO_LONG = 120.0
"""Seconds without a word from the API server about a kind, after which the cache is not to be trusted."""
_log = logging.getLogger(__name__)


def kinds_of(reconcilers: Iterable[Reconciler[Any, Any]]) -> set[Kind]:
    """Every kind that the API server is asked about."""
    watched = (one.kind for reconciler in reconcilers for one in (*reconciler.owns, *reconciler.reads))
    return {EVENT, LEASE, *(reconciler.kind for reconciler in reconcilers), *watched}


class Application:
    """One replica."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings, self._connection = settings, connection
        self._informers: dict[Kind, Informer] = {}
        registry = CollectorRegistry()
        self._reconcilers = self._our_kinds(registry)
        self._metrics = Metrics(registry, kinds_of(self._reconcilers))
        self._cache, self._queue = Cache(self._reconcilers), WorkQueue[ObjectKey](group=lambda key: key.namespace)
        self._leader: Leader | None = None

    def _our_kinds(self, registry: CollectorRegistry) -> list[Reconciler[Any, Any]]:
        """Every kind that is reconciled, with its metrics."""
        jobs = JobMetrics(registry)
        jobs.collect_jobs(self._samples, _now, self._may_exist)
        return [FineTuneJobs(jobs, kuberay=lambda: not self._informers[RAY_JOB].absent)]

    def _samples(self) -> list[JobSample]:
        return [sample_of(job, _now()) for job in self._cache.subjects(FINE_TUNE_JOB.name)]

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set."""
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(
                ApiClient(self._connection, self._may_write, self._metrics.api_request)
            )
            controller = Controller(
                api,
                self._cache,
                self._queue,
                self._reconcilers,
                self._settings,
                self._metrics,
                may_write=self._may_write,
                now=_now,
            )
            self._inform(api, controller)
            self._leader = Leader(
                api,
                self._settings,
                new_identity(self._settings),
                on_elected=lambda: self._elected(controller),
                on_lost=lambda: self._metrics.leading(False),
            )
            self._metrics.collect_queue_length(lambda: len(self._queue))
            await stack.enter_async_context(serve(self._settings, self._metrics, self._unhealthy, self._unready))
            await self._live(api, controller, stop)

    def _inform(self, api: ApiClient, controller: Controller) -> None:
        owned = {one.kind: SELECTOR for reconciler in self._reconcilers for one in reconciler.owns}
        # Of a kind that one reconciler owns and another reads, all objects are asked for.
        read = {one.kind: "" for reconciler in self._reconcilers for one in reconciler.reads}
        for kind, selector in (owned | read).items():
            self._informers[kind] = Informer(
                api, kind, selector=selector, on_change=controller.on_event, on_list=controller.on_list
            )
        for kind, informer in self._informers.items():
            self._metrics.collect_synced(kind.plural, informer.is_current)

    async def _live(self, api: ApiClient, controller: Controller, stop: asyncio.Event) -> None:
        """The informers first: what a job needs must be known before the job is looked at. Of them, those of large
        objects last, which are read of known owners alone."""
        assert self._leader is not None
        large = {one.kind for reconciler in self._reconcilers for one in reconciler.owns if one.large}
        small, running = self._informers.keys() - large, list[asyncio.Task[None]]()
        async with asyncio.TaskGroup() as tasks:
            leading = tasks.create_task(self._leader.run())
            tasks.create_task(self._end(stop, running, leading))
            running += self._informing(tasks, small)
            await self._first_of(stop, self._learn(api, controller, small))
            if not stop.is_set():
                running += self._informing(tasks, large)
                await self._first_of(stop, self._told(large))
            if stop.is_set():
                return
            for reconciler in self._reconcilers:
                watch = run_watch(self._connection, reconciler.kind, controller.on_event, stop)
                running.append(tasks.create_task(watch))
            running.append(tasks.create_task(self._resync(api, controller)))
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

    def _informing(self, tasks: asyncio.TaskGroup, kinds: Iterable[Kind]) -> list[asyncio.Task[None]]:
        return [tasks.create_task(self._informers[kind].run()) for kind in kinds]

    async def _told(self, kinds: Iterable[Kind]) -> None:
        for kind in kinds:
            await self._informers[kind].synced.wait()

    async def _learn(self, api: ApiClient, controller: Controller, kinds: Iterable[Kind]) -> None:
        await self._told(kinds)
        # All at once: kopf tells of each object in a task of its own, which takes four times as long.
        for reconciler in self._reconcilers:
            with suppress(ApiError):  # kopf waits for the CRD, and tells of every object anyway
                async for page in api.pages(reconciler.kind):
                    for obj in page.objects:
                        controller.on_event("put", obj)

    async def _resync(self, api: ApiClient, controller: Controller) -> None:
        """Level-triggered to the end: now and then everything is looked at, whatever was heard or missed of it."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            for reconciler in self._reconcilers:
                try:
                    await self._forget_missing(api, reconciler.kind)
                except Exception:
                    _log.exception("the %ss could not be compared with those of the API server", reconciler.noun)
            controller.look_at_all()

    async def _forget_missing(self, api: ApiClient, kind: Kind) -> None:
        there = await all_of(api, kind)
        if there is not None:
            self._cache.on_subjects(kind.name, *there)
            return
        for subject in self._cache.subjects(kind.name):
            self._cache.forget(ObjectKey(kind.name, subject.namespace, subject.name), subject.uid)

    def _may_exist(self, namespace: str) -> bool:
        known = self._informers[NAMESPACE].is_current()
        return not known or self._cache.find(NAMESPACE.name, "", namespace) is not None

    def _may_write(self) -> bool:
        return self._leader is not None and self._leader.may_write()

    def _elected(self, controller: Controller) -> None:
        self._metrics.leading(True)
        controller.look_at_all()

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
