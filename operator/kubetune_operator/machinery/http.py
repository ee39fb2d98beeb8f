"""The operator's HTTP server: metrics for Prometheus, and the two probes of the kubelet."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.settings import Settings

Check = Callable[[], str | None]
"""None if all is well, or the sentence of what is wrong."""
_SHUTDOWN_SECONDS = 2.0
"""How long an answer that is under way may take when the server ends, in seconds."""


@asynccontextmanager
async def serve(settings: Settings, metrics: Metrics, healthy: Check, ready: Check) -> AsyncIterator[int]:
    """Serves as long as the `async with` lasts; gives the port, which port 0 leaves to the system."""
    runner = web.AppRunner(_application(metrics, healthy, ready), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.metrics_host, settings.metrics_port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _application(metrics: Metrics, healthy: Check, ready: Check) -> web.Application:
    async def exposition(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(metrics.registry), headers={"Content-Type": content_type})

    async def health(_: web.Request) -> web.Response:
        return _answer(healthy())

    async def readiness(_: web.Request) -> web.Response:
        return _answer(ready())

    application = web.Application()
    application.add_routes(
        [web.get("/metrics", exposition), web.get("/healthz", health), web.get("/readyz", readiness)]
    )
    return application


def _answer(error: str | None) -> web.Response:
    return web.Response(text="ok\n") if error is None else web.Response(status=503, text=f"{error}\n")
