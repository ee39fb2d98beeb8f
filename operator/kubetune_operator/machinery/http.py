"""The operator's HTTP servers: metrics for Prometheus on one port, the two probes of the kubelet on another.

Whoever reaches a port may ask as often as it likes, and the leader's Lease is renewed on the same event loop: so there
are few connections at a time, and the page of metrics is made once for all that ask within a moment, in a thread.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.settings import Settings

Check = Callable[[], str | None]
"""None if all is well, or the sentence of what is wrong."""
MOST_CONNECTIONS = 16
"""Of each port; a further one is closed at once."""
_SHUTDOWN_SECONDS = 2.0
"""How long an answer that is under way may take when the server ends, in seconds."""
_IDLE_SECONDS = 120
"""How long a connection is kept without a request: longer than the pause of most scrapers."""
_KEPT_SECONDS, _KEPT_TIMES = 0.5, 10
"""How long a page counts, at least, and as how many times what it took to make."""
_OPENMETRICS = "application/openmetrics-text"


class Ports(NamedTuple):
    """Where it listens: port 0 leaves the choice to the system."""

    metrics: int
    health: int


@asynccontextmanager
async def serve(settings: Settings, metrics: Metrics, healthy: Check, ready: Check) -> AsyncIterator[Ports]:
    """Serves as long as the `async with` lasts."""
    async with AsyncExitStack() as stack:
        host = settings.metrics_host
        yield Ports(
            await stack.enter_async_context(_listening(_metrics(metrics), host, settings.metrics_port)),
            await stack.enter_async_context(_listening(_probes(healthy, ready), host, settings.health_port)),
        )


@asynccontextmanager
async def _listening(application: web.Application, host: str, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, keepalive_timeout=_IDLE_SECONDS
    )
    await runner.setup()
    assert runner.server is not None
    try:
        listener = await asyncio.get_running_loop().create_server(_Door(runner.server), host, port)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


class _Door:
    """Lets so many connections in."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._coming = 0
        """Those that were let in, and that the server will know of in a moment: many may come at once."""

    def __call__(self) -> asyncio.Protocol:
        if len(self._server.connections) + self._coming >= MOST_CONNECTIONS:
            return _Refusal()
        self._coming += 1
        asyncio.get_running_loop().call_soon(self._came)
        return self._server()

    def _came(self) -> None:
        self._coming -= 1


class _Refusal(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Without a word: none would be cheap enough."""
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


@dataclass
class _Page:
    """The metrics in one format."""

    body: asyncio.Task[bytes]
    until: float = float("inf")
    """When it is too old; not while it is made."""


class Exposition:
    """The page of metrics, in the two formats that there are."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._clock = metrics, clock
        self._pages: dict[str, _Page] = {}

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type; at most a moment old."""
        # Not what the header says word for word: of pages by the client's words there would be any number.
        encode, content_type = choose_encoder(f"{_OPENMETRICS};version=1.0.0" if _OPENMETRICS in accept else "")
        page = self._pages.get(content_type)
        if page is None or page.until <= self._clock():
            page = self._pages[content_type] = _Page(asyncio.create_task(self._made(content_type, encode)))
        return await asyncio.shield(page.body), content_type

    async def _made(self, content_type: str, encode: Callable[..., bytes]) -> bytes:
        started = self._clock()
        try:
            return await asyncio.to_thread(encode, self._metrics.registry)
        finally:
            took = self._clock() - started
            self._pages[content_type].until = started + took + max(_KEPT_SECONDS, _KEPT_TIMES * took)


def _metrics(metrics: Metrics) -> web.Application:
    pages = Exposition(metrics)

    async def exposition(request: web.Request) -> web.Response:
        body, content_type = await pages.page(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    application = web.Application()
    application.add_routes([web.get("/metrics", exposition)])
    return application


def _probes(healthy: Check, ready: Check) -> web.Application:
    async def health(_: web.Request) -> web.Response:
        return _answer(healthy())

    async def readiness(_: web.Request) -> web.Response:
        return _answer(ready())

    application = web.Application()
    application.add_routes([web.get("/healthz", health), web.get("/readyz", readiness)])
    return application


def _answer(error: str | None) -> web.Response:
    return web.Response(text="ok\n") if error is None else web.Response(status=503, text=f"{error}\n")
