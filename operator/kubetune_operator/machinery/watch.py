"""Watches the objects that are reconciled, through kopf. The only module that imports `kopf`.

Of kopf we use the watching alone: no finalizer, no annotation, no posted event, no peering. Two of its ways are kept
from the rest of the operator. When it ends, `kopf.run_tasks` cancels every task of the loop that is younger than
itself, so its tasks are started and ended here. And it takes the signals for itself, so they are given back.
"""

import asyncio
import logging
import random
import signal
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf
from kopf._cogs.structs.references import Insights  # the only sign of whether kopf found the kind

from kubetune_operator.machinery.api_server import ApiClient, connector_of
from kubetune_operator.machinery.connection import Connection
from kubetune_operator.machinery.kinds import Kind, Object
from kubetune_operator.machinery.pages import FIRST_LIMIT

logger = logging.getLogger(__name__)

ABSENT_SECONDS = 10.0
"""How long until a kind that the server does not have is asked for again."""
BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0
LOGIN_SECONDS = 1.0
STEADY_SECONDS = 60.0
"""A kopf that ran for so long was sound: the next one starts without a long wait."""

Change = Callable[[str, Object], None]


async def run_watch(connection: Connection, kind: Kind, on_change: Change, stop: asyncio.Event) -> None:
    """Tells of every object of the kind that is `put` or `gone`, until `stop`, which SIGINT and SIGTERM set as well.

    kopf gives up when it is refused or the CRD vanishes; it is started again then, and tells of all objects anew.
    """
    logging.getLogger("kopf").setLevel(logging.WARNING)
    loop, failures = asyncio.get_running_loop(), 0
    async with ApiClient(connection, lambda: False, lambda *_: None) as api:
        while not stop.is_set():
            started = loop.time()
            try:
                await _until_served(api, kind, stop)
                await _run_kopf(connection, kind, on_change, stop)
            except Exception as error:  # whatever made kopf end
                failures = 0 if loop.time() - started > STEADY_SECONDS else failures + 1
                longest = min(BACKOFF_SECONDS * 2.0 ** min(failures, 20), LONGEST_BACKOFF_SECONDS)
                seconds = longest * random.uniform(0.5, 1.0)
                logger.warning("The watch of the %ss ended; it resumes in %.1f s: %s", kind.name, seconds, error)
                await _pause(stop, seconds)


async def all_of(api: ApiClient, kind: Kind) -> tuple[set[str], int] | None:
    """The UIDs of all objects, and the version at which these were all; None where the server has no such kind. kopf
    does not tell of what vanished between watch and list."""
    if not await api.serves(kind):
        return None
    found, version = set[str](), 0
    async for page in api.pages(kind, metadata_only=True):
        found |= {obj["metadata"]["uid"] for obj in page.objects}
        version = int(page.version)
    return found, version


async def _until_served(api: ApiClient, kind: Kind, stop: asyncio.Event) -> None:
    # kopf looks for the kind once, when it starts.
    while not stop.is_set() and not await api.serves(kind):
        logger.warning(
            "The API server has no %ss; install the CRDs. Asking again in %.0f s.", kind.name, ABSENT_SECONDS
        )
        await _pause(stop, ABSENT_SECONDS)


async def _run_kopf(connection: Connection, kind: Kind, on_change: Change, stop: asyncio.Event) -> None:
    """Runs kopf until `stop`, or until it fails."""
    insights = Insights()
    tasks = await kopf.spawn_tasks(
        registry=_registry(connection, kind, on_change),
        settings=_settings(),
        insights=insights,
        clusterwide=True,
        standalone=True,
    )
    _give_back_signals(stop)
    ends = asyncio.create_task(_until_stopped(insights, stop))
    try:
        await asyncio.wait([*tasks, ends], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, ends):
            task.cancel()
        await asyncio.wait([*tasks, ends])
    for task in (*tasks, ends):
        if not task.cancelled() and (error := task.exception()):
            raise error


async def _until_stopped(insights: Insights, stop: asyncio.Event) -> None:
    await insights.ready_resources.wait()
    if not insights.watched_resources:
        raise RuntimeError("the API server did not name the kind to kopf")
    await stop.wait()


def _registry(connection: Connection, kind: Kind, on_change: Change) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    group, version = kind.api_version.split("/")
    logins = 0

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        # kopf logs in again when the server refused the credentials, at once and for as long as it is refused.
        nonlocal logins
        logins += 1
        if logins > 1:
            connection.headers(anew=True)
            await asyncio.sleep(LOGIN_SECONDS)
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=_session(connection))

    # Not a plain function: kopf would run that in a thread.
    @kopf.on.event(group, version, kind.plural, registry=registry)
    async def on_event(event: Any, **_: Any) -> None:
        on_change("gone" if event["type"] == "DELETED" else "put", _plain(event["object"]))

    return registry


def _session(connection: Connection) -> aiohttp.ClientSession:
    """The session of kopf's requests, which closes it; not the one that it would make, whose token never changes."""

    async def authorized(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers.update(connection.headers())
        return await send(request)

    return aiohttp.ClientSession(connector=connector_of(connection), middlewares=(authorized,))


class _NoDiffs(kopf.DiffBaseStorage):
    """Takes no copy of each object for differences that nobody asks for: four tenths of what kopf costs."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """No field counts."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Nothing was kept."""

    def store(self, **_: Any) -> None:
        """Keeps nothing."""


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.scanning.disabled = True  # no right to watch CRDs and namespaces is needed
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None  # else it kills the process ten minutes after its own end
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = (1, 2, 5)
    # What it handles in one go, while the loop's other tasks wait, and what it holds: its tasks keep their object for a
    # while after their work.
    settings.watching.chunk_size = FIRST_LIMIT
    settings.queueing.idle_timeout = 0.1
    return settings


def _give_back_signals(stop: asyncio.Event) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _plain(obj: Any) -> Object:
    """The object as a plain dictionary, without the record of who set which field."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}
