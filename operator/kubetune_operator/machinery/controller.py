"""Acts on plans: one job at a time in one hand, status first, then what should be there, then what should not.

Every step may be the last one of this process. Each is safe to repeat, and the next process plans anew from what it
sees.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime

from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt, FineTuneJobStatus
from kubetune_operator.jobs import names
from kubetune_operator.jobs.events import JobRef, events_of
from kubetune_operator.jobs.observed import JobView, Observed
from kubetune_operator.jobs.reconcile import Plan, reconcile
from kubetune_operator.jobs.state import Standing, with_standing
from kubetune_operator.jobs.views import pod_view
from kubetune_operator.machinery.api_server import ApiError, Cluster, NotLeaderError
from kubetune_operator.machinery.differences import is_as_wanted, merge_patch
from kubetune_operator.machinery.kinds import EVENT, FINE_TUNE_JOB, POD, RAY_JOB, ROLE_BINDING, Object
from kubetune_operator.machinery.logs import job_log
from kubetune_operator.machinery.queue import WorkQueue
from kubetune_operator.machinery.store import Cache
from kubetune_operator.metrics import Metrics
from kubetune_operator.settings import Settings

_REFUSALS = (400, 403, 422)
"""The API server understood the request and will not do it: the job says so, and it is tried again now and then."""
_PROGRESS = {"progress", "workers", "message", "conditions"}
"""The fields of a status that change all the time while a job goes on."""


class Controller:
    """Brings the cluster to what the plans say."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        queue: WorkQueue,
        settings: Settings,
        metrics: Metrics,
        *,
        may_write: Callable[[], bool],
        kuberay: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._cluster, self._cache, self._queue, self._settings = cluster, cache, queue, settings
        self._metrics, self._may_write, self._kuberay, self._now = metrics, may_write, kuberay, now
        self._written: dict[str, float] = {}
        """When each job's status was last written, by the monotonic clock."""
        self._namespace_locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._telling: set[asyncio.Task[None]] = set()

    def heard(self, what: str, thing: Object) -> None:
        """Takes in a change (`put` or `gone`) and has the jobs that it matters to looked at."""
        touched = self._cache.put(thing) if what == "put" else self._cache.gone(thing)
        for key in touched:
            self._queue.add(key)

    def listed(self, kind: str, uids: set[str], version: int) -> None:
        """Takes in what there is of a kind, and has the jobs looked at that had more."""
        for key in self._cache.listed(kind, uids, version):
            self._queue.add(key)

    def look_at_all(self) -> None:
        """Has every job looked at."""
        for key in self._cache.names():
            self._queue.add(key)

    async def work(self) -> None:
        """Looks at jobs for ever."""
        while True:
            key = await self._queue.get()
            try:
                await self._look_at(key)
            finally:
                self._queue.done(key)

    async def _look_at(self, key: str) -> None:
        if not self._may_write():
            return  # who is elected looks at all jobs
        started = time.monotonic()
        failed = True
        try:
            await self._bring_about(key)
            self._queue.forget(key)
            failed = False
        except NotLeaderError:
            failed = False
        except ApiError as error:
            failed = error.status != 409
            self._again_after_failure(key, error)
        except Exception:
            self._log(key).exception("the job could not be looked at")
            self._queue.add_after(key, self._queue.failures(key))
        self._metrics.reconciled(time.monotonic() - started, failed)

    def _again_after_failure(self, key: str, error: ApiError) -> None:
        self._log(key).log(logging.DEBUG if error.status == 409 else logging.WARNING, "%s", error)
        self._queue.add_after(key, error.retry_after or self._queue.failures(key))

    async def _bring_about(self, key: str) -> None:
        seen = self._cache.observe(key, kuberay=self._kuberay())
        if seen is None:
            self._written.pop(key, None)
            return
        plan = reconcile(seen, self._settings, self._now())
        try:
            await self._carry_out(key, seen, plan)
        except ApiError as error:
            if error.status not in _REFUSALS or plan.create is None:
                raise
            await self._say_refusal(key, error)
            return
        if plan.again_after is not None:
            self._queue.add_after(key, plan.again_after)

    async def _carry_out(self, key: str, seen: Observed, plan: Plan) -> None:
        job = seen.job
        if plan.begins and job.attempt is not None:
            await self._be_sure_that_no_pod_is_left(job)
        if plan.headless and job.attempt is not None:
            await self._be_sure_that_no_head_runs(job, job.attempt)
        await self._write_status(key, job, plan.status)
        await self._apply(job, plan.apply)
        if plan.create is not None:
            await self._create(job, plan.create)
        for ref in plan.delete:
            await self._cluster.delete(ref.kind, job.namespace, ref.name, uid=ref.uid)

    async def _be_sure_that_no_pod_is_left(self, job: JobView) -> None:
        """Two attempts never run together: here the API server is asked, not the cache."""
        if left := await self._pods_in_the_cluster(job, metadata_only=True):
            name = left[0]["metadata"]["name"]
            raise ApiError(
                "LIST pods", status=409, reason="Conflict", message=f"pod {name} of {job.name} is still there"
            )

    async def _be_sure_that_no_head_runs(self, job: JobView, attempt: Attempt) -> None:
        """A watch may be silent for long, and another label of the pod may have been changed."""
        heads = [pod_view(pod) for pod in await self._pods_in_the_cluster(job, f",{names.ROLE}=head")]
        if any(head.attempt == attempt.number and head.lives for head in heads):
            raise ApiError("LIST pods", status=409, reason="Conflict", message=f"the head of {job.name} runs")

    async def _pods_in_the_cluster(self, job: JobView, more: str = "", *, metadata_only: bool = False) -> list[Object]:
        """The job's pods as the API server has them; `more` narrows the selector."""
        selector = f"{names.JOB_UID}={job.uid}{more}"
        found, _ = await self._cluster.list(POD, selector=selector, metadata_only=metadata_only)
        # Another tenant may have given its pods the same label.
        return [pod for pod in found if pod["metadata"]["namespace"] == job.namespace]

    async def _write_status(self, key: str, job: JobView, status: FineTuneJobStatus) -> None:
        patch = merge_patch(job.stored_status, status.to_dict())
        if not patch:
            return
        if not patch.keys() - _PROGRESS and self._must_wait(key, job.status, status):
            return
        try:
            answer = await self._cluster.patch_status(
                FINE_TUNE_JOB, job.namespace, job.name, patch, resource_version=job.resource_version
            )
        except ApiError as error:
            if error.status == 404:
                self._cache.forget_job(key, job.uid)
            raise
        self._written[key] = time.monotonic()
        # The watch has nothing new to tell of an answer that was quicker, and so would have nobody look at the job.
        self.heard("put", answer)
        self._tell(job, status)

    def _must_wait(self, key: str, before: FineTuneJobStatus, after: FineTuneJobStatus) -> bool:
        """Progress is written now and then; what has become of the job at once."""
        if (before.phase, before.reason) != (after.phase, after.reason):
            return False
        left = self._written.get(key, 0.0) + self._settings.progress_seconds - time.monotonic()
        if left > 0:
            self._queue.add_after(key, left)
        return left > 0

    async def _apply(self, job: JobView, things: tuple[Object, ...]) -> None:
        if all(self._is_there(job, thing) for thing in things):
            return
        # The first job of a namespace makes what all of them share.
        async with self._namespace_locks[job.namespace]:
            for thing in (thing for thing in things if names.JOB_UID not in thing["metadata"]["labels"]):
                await self._apply_one(job, thing)
        own = [thing for thing in things if names.JOB_UID in thing["metadata"]["labels"]]
        # Without the right to `bind`, the API server wants to know the Role before a RoleBinding names it.
        bindings = [thing for thing in own if thing["kind"] == ROLE_BINDING.name]
        await asyncio.gather(*(self._apply_one(job, thing) for thing in own if thing not in bindings))
        await asyncio.gather(*(self._apply_one(job, thing) for thing in bindings))

    async def _apply_one(self, job: JobView, thing: Object) -> None:
        if not self._is_there(job, thing):
            self._cache.put(await self._cluster.apply(thing))

    def _is_there(self, job: JobView, thing: Object) -> bool:
        metadata = thing["metadata"]
        own = job.uid if names.JOB_UID in metadata["labels"] else None
        return is_as_wanted(self._cache.existing(thing["kind"], job.namespace, metadata["name"], own), thing)

    async def _create(self, job: JobView, thing: Object) -> None:
        name = thing["metadata"]["name"]
        try:
            created = await self._cluster.create(RAY_JOB, thing)
        except ApiError as error:
            there = await self._cluster.get(RAY_JOB, job.namespace, name) if error.status == 409 else None
            if there is None or there["metadata"].get("labels", {}).get(names.JOB_UID) != job.uid:
                raise
            created = there  # the answer to an earlier try was lost
        self._log(f"{job.namespace}/{job.name}").info("RayJob %s is there", name)
        self.heard("put", created)

    async def _say_refusal(self, key: str, error: ApiError) -> None:
        """The job itself says what the API server would not make for it, and why."""
        seen = self._cache.observe(key, kuberay=self._kuberay())
        if seen is None:
            return
        self._log(key).warning("%s", error)
        standing = Standing(
            "Pending",
            Reason.CREATION_REFUSED,
            f"{error}; the platform team mends this (quota, rights, KubeRay 1.6 or newer), and the job goes on then",
        )
        status = with_standing(seen.job.status, standing, seen.job.generation, self._now())
        await self._write_status(key, seen.job, status)
        self._queue.add_after(key, self._settings.refusal_seconds)

    def _tell(self, job: JobView, after: FineTuneJobStatus) -> None:
        """Metrics and events of a change; nothing waits for the events."""
        self._metrics.observe_transition(job.namespace, job.status, after)
        if after.reason == Reason.DOES_NOT_FIT != job.status.reason:
            self._metrics.planner_refused()
        if (job.status.phase, job.status.reason) != (after.phase, after.reason):
            log = job_log(job.namespace, job.name, after.attempts[-1].number if after.attempts else None)
            log.info("%s (%s): %s", after.phase, after.reason, after.message)
        ref = JobRef(job.namespace, job.name, job.uid)
        for event in events_of(ref, job.status, after, self._now(), self._settings.identity):
            task = asyncio.create_task(self._create_event(event))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _create_event(self, event: Object) -> None:
        try:
            await self._cluster.create(EVENT, event)
        except (ApiError, NotLeaderError) as error:
            if not (isinstance(error, ApiError) and error.status == 409):
                job_log(event["metadata"]["namespace"], event["regarding"]["name"]).debug("%s", error)

    def _log(self, key: str) -> logging.LoggerAdapter[logging.Logger]:
        namespace, _, name = key.partition("/")
        return job_log(namespace, name)
