"""Keeps its caller told of all objects of a kind: a list, then a watch, and a list again when the watch lost its place.

It remembers which object each name last was, so that a deletion which nobody saw is found by the next list. Its caller
keeps the objects themselves.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from kubetune_operator.machinery.api_server import ApiClient, ApiError
from kubetune_operator.machinery.kinds import Kind, Object

logger = logging.getLogger(__name__)

BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 30.0
ABSENT_SECONDS = 10.0
"""How long until a kind that the server does not have is asked for again."""
STEADY_SECONDS = 1.0
"""A watch that stood for so long ends the back-off: one that can be opened but never lasts must not be hammered."""

TURN_SECONDS = 0.05
"""How long objects of a list are taken in before others have their turn: a large one costs milliseconds."""

Change = Callable[[str, Object], None]
"""Hears `put` with an object that is new or changed, and `gone` with one that is no more."""
Listed = Callable[[str, set[str], int], None]
"""Hears of each list, after its objects: the kind, the UIDs of all that there are, and the version of the list."""


class Informer:
    """One kind's objects, as far as the label selector goes."""

    def __init__(
        self,
        api: ApiClient,
        kind: Kind,
        *,
        on_change: Change,
        on_list: Listed = lambda *_: None,
        selector: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.synced = asyncio.Event()
        """Everything that there was at the start has been told."""
        self.absent = False
        """The server has no such kind."""
        self.failing_since: float | None = None
        """Since when, by the clock, what is told may be old."""
        self._api = api
        self._kind = kind
        self._selector = selector
        self._on_change = on_change
        self._on_list = on_list
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._known: dict[str, tuple[str, str]] = {}
        """UID and version of the object that each name last was."""
        self._version = ""
        """Where to watch on; empty where only a list can tell."""
        self._failures = 0

    def is_current(self) -> bool:
        """Whether all that there is has been told, and nothing keeps from us what becomes of it."""
        return self.synced.is_set() and self.failing_since is None

    async def run(self) -> None:
        """Goes on until it is cancelled, whatever the server does."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except ApiError as error:
                await self._recover(error)
            except Exception as error:  # a bug of ours, here or in the caller: the other objects must not wait for it
                logger.exception("The informer of %s failed; it lists them again.", self._kind.plural)
                self._version = ""
                await self._back_off(str(error), None)

    async def _list(self) -> None:
        there, version, turn = dict[str, str](), "", self._clock()
        async with aclosing(self._api.pages(self._kind, selector=self._selector)) as pages:
            async for page in pages:
                for obj in page.objects:
                    self._put(obj)
                    there[_key(obj)] = obj["metadata"]["uid"]
                    if self._clock() - turn >= TURN_SECONDS:
                        await asyncio.sleep(0)
                        turn = self._clock()
                version = page.version
        for key in self._known.keys() - there.keys():
            self._forget(key)
        self._on_list(self._kind.name, set(there.values()), int(version))
        self._version = version
        self.absent = False
        self.synced.set()

    async def _watch(self) -> None:
        started = self._clock()
        events = self._api.watch(self._kind, selector=self._selector, resource_version=self._version)
        try:
            async with aclosing(events) as stream:
                async for what, obj in stream:
                    self.failing_since = None
                    self._on_event(what, obj)
                    self._version = obj["metadata"]["resourceVersion"]
        finally:
            if self.failing_since is None and self._clock() - started >= STEADY_SECONDS:
                self._failures = 0
        # A server that ends every watch at once must not be asked without a pause.
        if self._clock() - started < STEADY_SECONDS:
            await self._back_off("the watch ended at once", None)

    def _on_event(self, what: str, obj: Object) -> None:
        if what in ("ADDED", "MODIFIED"):
            self._put(obj)
        elif what == "DELETED":
            key = _key(obj)
            if self._known.get(key, ("",))[0] == obj["metadata"]["uid"]:
                self._on_change("gone", _plain(obj))
                del self._known[key]

    def _put(self, obj: Object) -> None:
        key, metadata = _key(obj), obj["metadata"]
        now = (metadata["uid"], metadata["resourceVersion"])
        before = self._known.get(key)
        if before == now:
            return
        if before and before[0] != now[0]:
            self._forget(key)
        # Told first: if the caller fails, the next list tells it again.
        self._on_change("put", _plain(obj))
        self._known[key] = now

    def _forget(self, key: str) -> None:
        """Tells of an object whose deletion was not seen what is known of it."""
        uid, version = self._known[key]
        namespace, _, name = key.rpartition("/")
        metadata = {"name": name, "uid": uid, "resourceVersion": version}
        if namespace:
            metadata["namespace"] = namespace
        self._on_change("gone", {"apiVersion": self._kind.api_version, "kind": self._kind.name, "metadata": metadata})
        del self._known[key]

    async def _recover(self, error: ApiError) -> None:
        """Does what the error asks for: the watch goes on after a cut; after a word of the server it takes a list."""
        listing = not self._version
        if error.status:
            self._version = ""
        if error.status == 404 and listing:
            await self._wait_for_kind()
        else:
            await self._back_off(str(error), error.retry_after)

    async def _wait_for_kind(self) -> None:
        if not self.absent:
            logger.info("The API server has no %s; asking again every %.0f s.", self._kind.plural, ABSENT_SECONDS)
        for key in list(self._known):
            self._forget(key)
        self.absent = True
        self.failing_since = None
        self.synced.set()
        await self._sleep(ABSENT_SECONDS)

    async def _back_off(self, why: str, retry_after: float | None) -> None:
        if self.failing_since is None:
            self.failing_since = self._clock()
        longest = min(BACKOFF_SECONDS * 2.0 ** min(self._failures, 20), LONGEST_BACKOFF_SECONDS)
        seconds = max(longest * (0.5 + self._chance() / 2), retry_after or 0.0)
        self._failures += 1
        logger.warning("The informer of %s resumes in %.1f s: %s", self._kind.plural, seconds, why)
        await self._sleep(seconds)


def _key(obj: Object) -> str:
    metadata = obj["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))


def _plain(obj: Object) -> Object:
    """The object without the record of who set which field, which can be half of it."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}
