"""An API server in memory, with the methods of the operator's client, and a controller that works on it."""

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import datetime
from typing import Any, cast

from prometheus_client import CollectorRegistry

from kubetune_operator.application import kinds_of
from kubetune_operator.machinery.api_server import ApiClient, ApiError
from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.controller import Controller
from kubetune_operator.machinery.kinds import Kind, Object
from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.machinery.pages import Page
from kubetune_operator.machinery.queue import WorkQueue
from kubetune_operator.machinery.reconciler import Reconciler
from kubetune_operator.settings import Settings


class InMemoryApi:
    """Keeps objects by kind and name; whoever listens hears of each change, as from a watch."""

    def __init__(self, *objects: Object) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.refuses: set[str] = set()
        """The kinds of which it creates none: a quota, say."""
        self.unreadable: set[str] = set()
        """The kinds that it does not let be read."""
        self.refusal = (403, "Forbidden", "exceeded quota")
        """Status, reason and message with which it does not."""
        self.created: list[Object] = []
        self.deleted: list[str] = []
        self.hears: Callable[[str, Object], None] = lambda what, obj: None
        self._version = 1_000_000
        for obj in objects:
            self.put(obj)

    def put(self, obj: Object) -> Object:
        """Others create or change an object."""
        self._version += 1
        made = {"uid": f"uid-{self._version}", "creationTimestamp": "2026-05-01T12:00:00Z"}
        metadata = made | obj["metadata"] | {"resourceVersion": str(self._version)}
        self.objects[obj["kind"], metadata["name"]] = stored = {**copy.deepcopy(obj), "metadata": metadata}
        self.hears("put", copy.deepcopy(stored))
        return copy.deepcopy(stored)

    def remove(self, kind: str, name: str) -> None:
        """Others delete an object."""
        self.hears("gone", self.objects.pop((kind, name)))

    async def get(self, kind: Kind, _: str, name: str) -> Object | None:
        return self.objects.get((kind.name, name))

    async def pages(
        self, kind: Kind, *, namespace: str, selector: str = "", most: int = 50, **_: object
    ) -> AsyncGenerator[Page, None]:
        await asyncio.sleep(0)
        if kind.name in self.unreadable:
            raise ApiError(f"LIST {kind.plural}", status=403, reason="Forbidden", message="may not")
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        found = [obj for (name, _), obj in self.objects.items() if name == kind.name]
        selected = [obj for obj in found if wanted.items() <= obj["metadata"].get("labels", {}).items()]
        there = [obj for obj in selected if obj["metadata"]["namespace"] == namespace]
        for first in range(0, max(1, len(there)), most):
            yield Page(there[first : first + most], str(self._version))

    async def create(self, kind: Kind, obj: Object) -> Object:
        await asyncio.sleep(0)
        if kind.name in self.refuses:
            status, reason, message = self.refusal
            raise ApiError(f"POST {kind.plural}", status=status, reason=reason, message=message)
        if (kind.name, obj["metadata"]["name"]) in self.objects:
            raise ApiError(f"POST {kind.plural}", status=409, reason="AlreadyExists", message="it is there")
        self.created.append(obj)
        return self.put(obj)

    async def apply(self, _: Kind, obj: Object) -> Object:
        return self.put(obj)

    async def patch_status(self, kind: Kind, _: str, name: str, patch: Object, **__: str) -> Object:
        await asyncio.sleep(0)
        obj = self.objects[kind.name, name]
        return self.put({**obj, "status": {**obj.get("status", {}), **patch}})

    async def delete(self, kind: Kind, _: str, name: str, *, uid: str) -> None:
        self.deleted.append(name)
        if self.objects.get((kind.name, name), {}).get("metadata", {}).get("uid") == uid:
            self.remove(kind.name, name)


def controller_of(
    api: InMemoryApi, reconcilers: Iterable[Reconciler[Any, Any]], settings: Settings, now: Callable[[], datetime]
) -> Controller:
    """A controller of these kinds, which may always write."""
    kinds = list(reconcilers)
    metrics = Metrics(CollectorRegistry(), kinds_of(kinds))
    client = cast("ApiClient", api)
    return Controller(client, Cache(kinds), WorkQueue(), kinds, settings, metrics, may_write=lambda: True, now=now)


async def works(controller: Controller) -> None:
    """The controller does all that there is to do: nothing of it waits for anything but its turn."""
    worker = asyncio.create_task(controller.work())
    for _ in range(1000):
        await asyncio.sleep(0)
    worker.cancel()
