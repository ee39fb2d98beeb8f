"""Acts on plans: one object at a time in one hand, guards first, then status, then what should be there, then what not.

Every step may be the last one of this process. Each is safe to repeat, and the next process plans anew from what it
sees.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubetune_operator.machinery.api_server import ApiClient, ApiError, NotLeaderError
from kubetune_operator.machinery.asking import Asking
from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.differences import is_as_wanted, merge_patch
from kubetune_operator.machinery.entries import Entry, ObjectKey, Subject
from kubetune_operator.machinery.events import Regarding, event_of
from kubetune_operator.machinery.kinds import EVENT, ROLE_BINDING, Kind, Object
from kubetune_operator.machinery.labels import controlled_by
from kubetune_operator.machinery.logs import object_log
from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.machinery.plan import Guard, Plan, Status
from kubetune_operator.machinery.queue import WorkQueue
from kubetune_operator.machinery.reconciler import Reconciler
from kubetune_operator.settings import Settings

_REFUSALS = (400, 403, 422)
"""The API server understood the request and will not do it: the object says so, and it is tried again now and then."""
_PASSING = 3
"""So many failures in a row may be an outage that is over at once; the next one is told like a refusal."""
_MOST_ROUNDS = 3
"""How often one look may ask more of the API server."""


class NameTakenError(ApiError):
    """Another object has the name of one that is to be created."""

    def __init__(self, kind: Kind, namespace: str, name: str) -> None:
        message = (
            f"{kind.name} {name} is there already and belongs to something else (metadata.ownerReferences); delete it:"
            f" kubectl delete {kind.plural} {name} --namespace {namespace}"
        )
        super().__init__(f"POST {kind.plural} {namespace}/{name}", status=409, reason="AlreadyExists", message=message)


@dataclass(frozen=True)
class _Look:
    """One look at an object."""

    key: ObjectKey
    reconciler: Reconciler[Any, Any]
    subject: Subject
    seen: Any
    lingering: tuple[Entry, ...]
    """What of it is no more, and only counts until this look has been told."""

    def kind_of(self, obj: Object) -> Kind:
        """The kind of a child."""
        return next(watched.kind for watched in self.reconciler.owns if watched.kind.name == obj["kind"])

    def is_own(self, obj: Object) -> bool:
        """Whether an object is meant to be the subject's alone."""
        return self.reconciler.labels.uid in obj["metadata"]["labels"]


class Controller:
    """Brings the cluster to what the plans say."""

    def __init__(
        self,
        api: ApiClient,
        cache: Cache,
        queue: WorkQueue[ObjectKey],
        reconcilers: Iterable[Reconciler[Any, Any]],
        settings: Settings,
        metrics: Metrics,
        *,
        may_write: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._api, self._cache, self._queue, self._settings = api, cache, queue, settings
        self._reconcilers = {reconciler.kind.name: reconciler for reconciler in reconcilers}
        self._metrics, self._may_write, self._now = metrics, may_write, now
        self._asking = Asking(api, cache.answers)
        self._written: dict[ObjectKey, float] = {}
        """When each status was last written, by the monotonic clock."""
        self._namespace_locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._telling: set[asyncio.Task[None]] = set()
        self._between_looks = asyncio.Lock()

    def on_event(self, what: str, obj: Object) -> None:
        """Takes in a change (`put` or `gone`) and has looked at what it matters to."""
        self._queue.add_all(self._cache.put(obj) if what == "put" else self._cache.gone(obj))

    def on_list(self, kind: str, uids: set[str], version: int) -> None:
        """Takes in what there is of a kind, and has looked at what had more."""
        self._queue.add_all(self._cache.on_list(kind, uids, version))

    def look_at_all(self) -> None:
        """Has everything looked at."""
        self._queue.add_all(self._cache.all_keys())

    async def work(self) -> None:
        """Looks at objects for ever."""
        while True:
            key = await self._queue.get()
            try:
                await self._look_at(key)
            finally:
                self._queue.done(key)
            # Most looks ask nobody and so wait for nothing: thousands of them must hold up neither the Lease nor the
            # watches. So all else has its turn between any two of them, whoever does them.
            async with self._between_looks:
                await asyncio.sleep(0)

    async def _look_at(self, key: ObjectKey) -> None:
        if not self._may_write():
            return  # who is elected looks at everything
        started = time.monotonic()
        failed = True
        try:
            await self._reconcile(key)
            self._queue.forget(key)
            failed = False
        except NotLeaderError:
            failed = False
        except ApiError as error:
            failed = error.status != 409
            self._again_after_failure(key, error)
        except Exception:
            self._log(key).exception("the %s could not be reconciled", self._reconcilers[key.kind].noun)
            self._queue.add_after(key, self._queue.failures(key))
        self._metrics.reconciled(time.monotonic() - started, failed)

    def _again_after_failure(self, key: ObjectKey, error: ApiError) -> None:
        self._log(key).log(logging.DEBUG if error.status == 409 else logging.WARNING, "%s", error)
        wait = self._queue.failures(key)
        self._queue.add_after(key, error.retry_after or wait)

    async def _reconcile(self, key: ObjectKey) -> None:
        look = self._look(key)
        if look is None:
            self._written.pop(key, None)
            return
        look, plan = await self._planned(look)
        try:
            await self._carry_out(look, plan)
        except ApiError as error:
            refused = error.status in _REFUSALS or isinstance(error, NameTakenError)
            lasting = (error.status == 0 or error.status >= 500) and self._queue.failed(key) >= _PASSING
            if plan.create is None or not (refused or lasting):
                raise
            await self._say_refusal(key, error)
            if lasting:
                raise
            return
        if plan.again_after is not None:
            self._queue.add_after(key, plan.again_after)

    def _look(self, key: ObjectKey) -> _Look | None:
        """The object as it is now; None if it is gone."""
        reconciler, subject = self._reconcilers[key.kind], self._cache.subject(key)
        seen = reconciler.observe(self._cache, key) if subject is not None else None
        return None if seen is None else _Look(key, reconciler, subject, seen, self._cache.lingering(subject))

    async def _planned(self, look: _Look) -> tuple[_Look, Plan[Any]]:
        """What is to be done, once all is known that the plan asks for."""
        plan = look.reconciler.reconcile(look.seen, self._settings, self._now())
        for _ in range(_MOST_ROUNDS):
            if not await self._asking.ask(look.key, plan.questions):
                break
            look = self._look(look.key) or look
            plan = look.reconciler.reconcile(look.seen, self._settings, self._now())
        return look, plan

    async def _carry_out(self, look: _Look, plan: Plan[Any]) -> None:
        for guard in plan.guards:
            await self._be_sure(look.subject, guard)
        await self._write_status(look, plan.status)
        if self._cache.let_go(look.subject, look.lingering):
            self._queue.add(look.key)
        await self._apply(look, plan.apply)
        if plan.create is not None:
            await self._create(look, plan.create)
        for ref in plan.delete:
            await self._api.delete(ref.kind, look.subject.namespace, ref.name, uid=ref.uid)

    async def _be_sure(self, subject: Subject, guard: Guard) -> None:
        """A watch may be silent for long: here the API server is asked, not the cache."""
        # Only in the subject's namespace: another tenant may have given its objects the same labels.
        pages = self._api.pages(
            guard.kind,
            selector=guard.selector,
            namespace=subject.namespace,
            metadata_only=guard.forbids is None,
        )
        async with aclosing(pages):
            async for page in pages:
                for obj in page.objects:
                    if guard.forbids is None or guard.forbids(obj):
                        because = guard.because.format(name=obj["metadata"]["name"])
                        raise ApiError(f"LIST {guard.kind.plural}", status=409, reason="Conflict", message=because)

    async def _write_status(self, look: _Look, status: Status) -> None:
        patch = merge_patch(look.subject.stored_status, status.to_dict())
        if not patch:
            return
        if patch.keys() <= look.reconciler.throttled and self._must_wait(look.key):
            return
        subject = look.subject
        try:
            answer = await self._api.patch_status(
                look.reconciler.kind, subject.namespace, subject.name, patch, resource_version=subject.resource_version
            )
        except ApiError as error:
            if error.status == 404:
                self._cache.forget(look.key, subject.uid)
            raise
        self._written[look.key] = time.monotonic()
        # The watch has nothing new to tell of an answer that was quicker, and so would have nobody look at the object.
        self.on_event("put", answer)
        self._tell(look, status)

    def _must_wait(self, key: ObjectKey) -> bool:
        """Progress is written now and then; what has become of the object at once."""
        left = self._written.get(key, 0.0) + self._settings.progress_seconds - time.monotonic()
        if left > 0:
            self._queue.add_after(key, left)
        return left > 0

    async def _apply(self, look: _Look, objects: tuple[Object, ...]) -> None:
        if all(self._is_there(look, obj) for obj in objects):
            return
        # The first one of a namespace makes what all of them share.
        async with self._namespace_locks[look.subject.namespace]:
            for obj in (obj for obj in objects if not look.is_own(obj)):
                await self._apply_one(look, obj)
        own = [obj for obj in objects if look.is_own(obj)]
        # Without the right to `bind`, the API server wants to know the Role before a RoleBinding names it.
        bindings = [obj for obj in own if obj["kind"] == ROLE_BINDING.name]
        await asyncio.gather(*(self._apply_one(look, obj) for obj in own if obj not in bindings))
        await asyncio.gather(*(self._apply_one(look, obj) for obj in bindings))

    async def _apply_one(self, look: _Look, obj: Object) -> None:
        if not self._is_there(look, obj):
            self._cache.put(await self._api.apply(look.kind_of(obj), obj))

    def _is_there(self, look: _Look, obj: Object) -> bool:
        owner = look.subject.uid if look.is_own(obj) else None
        entry = self._cache.find(obj["kind"], look.subject.namespace, obj["metadata"]["name"], owner)
        return entry is not None and is_as_wanted(entry.object, obj)

    async def _create(self, look: _Look, obj: Object) -> None:
        kind, name = look.kind_of(obj), obj["metadata"]["name"]
        try:
            created = await self._api.create(kind, obj)
        except ApiError as error:
            there = await self._api.get(kind, look.subject.namespace, name) if error.status == 409 else None
            if there is None:
                raise
            if not controlled_by(there, look.subject.uid):
                raise NameTakenError(kind, look.subject.namespace, name) from error
            created = there  # the answer to an earlier try was lost
        self._log(look.key).info("%s %s is there", kind.name, name)
        self.on_event("put", created)

    async def _say_refusal(self, key: ObjectKey, error: ApiError) -> None:
        """The object itself says what the API server would not make for it, and why."""
        look = self._look(key)
        if look is None:
            return
        self._log(key).warning("%s", error)
        await self._write_status(look, look.reconciler.refused(look.seen, str(error), self._now()))
        self._queue.add_after(key, self._settings.refusal_seconds)

    def _tell(self, look: _Look, status: Status) -> None:
        """Metrics and events of a change; nothing waits for the events."""
        subject = look.subject
        look.reconciler.record(look.seen, status)
        regarding = Regarding(look.reconciler.kind, subject.namespace, subject.name, subject.uid)
        for transition in look.reconciler.events(look.seen, status):
            event = event_of(regarding, transition, self._now(), self._settings.identity)
            task = asyncio.create_task(self._create_event(look.key, event))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _create_event(self, key: ObjectKey, event: Object) -> None:
        try:
            await self._api.create(EVENT, event)
        except (ApiError, NotLeaderError) as error:
            if not (isinstance(error, ApiError) and error.status == 409):
                self._log(key).debug("%s", error)

    def _log(self, key: ObjectKey) -> logging.LoggerAdapter[logging.Logger]:
        return object_log(self._reconcilers[key.kind].noun, key.namespace, key.name)
