"""The operator's HTTP servers: metrics for Prometheus on one port, the two probes of the kubelet on another.

Whoever reaches a port may ask as often as it likes, and the leader's Lease is renewed on the same event loop: so there
are few connections at a time, and the page of metrics is made once for all that ask within a moment, in a thread.

Nothing but a NetworkPolicy keeps others away, and not every cluster enforces one. So connections that are held do not
keep the kubelet out: a new one takes the place of the oldest that waits for a request, of the address that has most.
Those that come wait in the kernel's queue for their turn. Who opens them faster than the loop takes them fills it, and
the kernel then drops the kubelet's, too: against that, nothing helps but a NetworkPolicy.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.settings import Settings

Check = Callable[[], str | None]
"""None if all is well, or the sentence of what is wrong."""
_SHUTDOWN_SECONDS = 2.0
"""How long an answer that is under way may take when the server ends, in seconds."""
_QUEUE = 1024
"""How many connections the kernel keeps until their turn comes."""
_KEPT_SECONDS, _KEPT_TIMES = 0.5, 10
"""How long a page counts, at least, and as how many times what it took to make."""
_OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True)
class Limits:
    """What one port grants."""

    connections: int
    """How many there may be at a time."""
    idle_seconds: float
    """How long a connection may be there without a whole request, the first one included."""
    accepted: int
    """How many may come in one turn of the loop. A request is read some turns after its connection came: within these,
    fewer than `connections` must come, or even the kubelet's would be taken for an idle one."""


SCRAPES = Limits(connections=16, idle_seconds=120, accepted=100)
"""Longer than the pause of most scrapers, which keep their connection."""
PROBES = Limits(connections=256, idle_seconds=5, accepted=32)
"""The kubelet opens a connection for each probe."""


class Ports(NamedTuple):
    """Where it listens: port 0 leaves the choice to the system."""

    metrics: int
    health: int


@asynccontextmanager
async def serve(
    settings: Settings, metrics: Metrics, healthy: Check, ready: Check, *, probes: Limits = PROBES
) -> AsyncIterator[Ports]:
    """Serves as long as the `async with` lasts."""
    scraped, probed = _metrics(metrics), _probes(healthy, ready)
    async with AsyncExitStack() as stack:
        host = settings.metrics_host
        yield Ports(
            await stack.enter_async_context(_listening(scraped, host, settings.metrics_port, SCRAPES)),
            await stack.enter_async_context(_listening(probed, host, settings.health_port, probes)),
        )


@asynccontextmanager
async def _listening(application: web.Application, host: str, port: int, limits: Limits) -> AsyncIterator[int]:
    application.middlewares.append(_attended)
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, keepalive_timeout=limits.idle_seconds
    )
    await runner.setup()
    assert runner.server is not None
    door = _Door(runner.server, limits.connections)
    try:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: _Guest(door), host, port, backlog=limits.accepted)
        _lengthen_queues(listener)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


def _lengthen_queues(listener: asyncio.Server) -> None:
    """To asyncio, how many come in a turn and how many wait in the kernel are one number."""
    for each in listener.sockets:
        with each.dup() as same:
            same.listen(_QUEUE)


class _Door:
    """Lets so many connections in."""

    def __init__(self, server: web.Server, most: int) -> None:
        self.server, self._most = server, most
        self.inside = dict[_Guest, str]()
        """Those that are there and their addresses, the oldest first."""

    def lets_in(self, address: str) -> bool:
        """Whether there is room, or one that waits can make it: of an address that has more, or of the same one."""
        if len(self.inside) < self._most:
            return True
        each = Counter(self.inside.values())
        waiting = [
            guest
            for guest, own in self.inside.items()
            if not guest.attended and (own == address or each[own] > each[address])
        ]
        if not waiting:
            return False
        max(waiting, key=lambda guest: each[self.inside[guest]]).leave()
        return True


class _Guest(asyncio.Protocol):
    """A connection as aiohttp handles it, once it is let in."""

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._handler: asyncio.Protocol | None = None
        self.attended = False
        """Whether a whole request of it is being answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Lets it in, or closes it without a word: none would be cheap enough."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        address = (transport.get_extra_info("peername") or ("",))[0]
        if not self._door.lets_in(address):
            transport.abort()
            return
        self._door.inside[self] = address
        self._handler = self._door.server()
        self._handler.connection_made(transport)

    def leave(self) -> None:
        """Makes room at once."""
        self._door.inside.pop(self, None)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._door.inside.pop(self, None)
        if self._handler is not None:
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        if self._handler is not None:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        """No more requests."""
        return self._handler.eof_received() if self._handler is not None else None

    def pause_writing(self) -> None:
        """It does not read as fast as it is answered."""
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._handler is not None:
            self._handler.resume_writing()

    @contextmanager
    def attending(self) -> Iterator[None]:
        """It keeps its place while its request is answered."""
        self.attended = True
        try:
            yield
        finally:
            self.attended = False


@web.middleware
async def _attended(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    guest = None if request.transport is None else request.transport.get_protocol()
    with guest.attending() if isinstance(guest, _Guest) else nullcontext():  # else it is over already
        answer: web.StreamResponse = await handler(request)
    return answer


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
    answer = web.Response(text="ok\n") if error is None else web.Response(status=503, text=f"{error}\n")
    answer.force_close()
    return answer
