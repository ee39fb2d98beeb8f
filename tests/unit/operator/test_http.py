import asyncio
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic

from kubetune_operator.jobs.metrics import JobMetrics
from kubetune_operator.machinery.http import Check, serve
from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.settings import Settings

LOOPBACK = Settings(metrics_host="127.0.0.1", metrics_port=0)


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    text: str


def every_metric() -> Metrics:
    metrics = Metrics(CollectorRegistry(), ())
    JobMetrics(metrics.registry)
    return metrics


def well() -> str | None:
    return None


def ask(
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    healthy: Check = well,
    ready: Check = well,
) -> Answer:
    """What a server of its own answers to one request."""

    async def answer() -> Answer:
        async with serve(LOOPBACK, every_metric(), healthy, ready) as port, aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{port}{path}"
            async with client.request(method, url, headers=headers) as response:
                return Answer(response.status, response.headers["Content-Type"], await response.text())

    return asyncio.run(answer())


def test_metrics_come_in_the_classic_format() -> None:
    answer = ask("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "kubetune_leader" in {family.name for family in classic(answer.text)}


def test_metrics_come_in_openmetrics_where_prometheus_asks_for_it() -> None:
    wanted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    answer = ask("/metrics", headers={"Accept": wanted})
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert "kubetune_planner_refusals" in {family.name for family in open_metrics(answer.text)}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_answers_ok(path: str) -> None:
    assert ask(path) == Answer(200, "text/plain; charset=utf-8", "ok\n")


def test_a_probe_says_what_is_wrong_and_only_of_what_it_was_asked() -> None:
    def unready() -> str:
        return "The cache of rayjobs is not complete yet."

    answer = ask("/readyz", ready=unready)
    assert (answer.status, answer.text) == (503, "The cache of rayjobs is not complete yet.\n")
    assert ask("/healthz", ready=unready).status == 200
    assert ask("/healthz", healthy=unready).status == 503
    assert ask("/readyz", healthy=unready).status == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz/x", "/debug/pprof", "/metrics/../readyz/.."])
def test_there_is_nothing_else(path: str) -> None:
    assert ask(path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(method: str) -> None:
    assert ask("/metrics", method=method).status == 405


def test_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ask("/healthz")
    assert caplog.records == []


def test_the_port_is_free_again_after_the_end() -> None:
    async def bound_again() -> None:
        async with serve(LOOPBACK, every_metric(), well, well) as port:
            pass
        with socket.create_server(("127.0.0.1", port)):
            pass

    asyncio.run(bound_again())


def test_a_scraper_that_keeps_its_connection_does_not_hold_the_end_up() -> None:
    async def scraped() -> None:
        async with aiohttp.ClientSession() as client:
            async with serve(LOOPBACK, every_metric(), well, well) as port:
                await (await client.get(f"http://127.0.0.1:{port}/healthz")).read()
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.get(f"http://127.0.0.1:{port}/healthz")

    asyncio.run(scraped())
