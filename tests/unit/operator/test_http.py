import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic
from prometheus_client.registry import Collector

from kubetune_operator.jobs.metrics import JobMetrics
from kubetune_operator.machinery.http import PROBES as PROBED
from kubetune_operator.machinery.http import SCRAPES, Check, Exposition, Limits, Ports, serve
from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.settings import Settings

T = TypeVar("T")
OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
PROBES = ("/healthz", "/readyz")
CHART_SECONDS = 5
"""How long the kubelet waits for an answer."""
LOOPBACK = Settings(metrics_host="127.0.0.1", metrics_port=0, health_port=0)


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
        async with serve(LOOPBACK, every_metric(), healthy, ready) as ports, aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{ports.health if path in PROBES else ports.metrics}{path}"
            async with client.request(method, url, headers=headers) as response:
                return Answer(response.status, response.headers["Content-Type"], await response.text())

    return asyncio.run(answer())


def test_metrics_come_in_the_classic_format() -> None:
    answer = ask("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "kubetune_leader" in {family.name for family in classic(answer.text)}


def test_metrics_come_in_openmetrics_where_prometheus_asks_for_it() -> None:
    answer = ask("/metrics", headers={"Accept": OPEN})
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert "kubetune_planner_refusals" in {family.name for family in open_metrics(answer.text)}


@pytest.mark.parametrize("path", PROBES)
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
        async with serve(LOOPBACK, every_metric(), well, well) as ports:
            pass
        for port in ports:
            with socket.create_server(("127.0.0.1", port)):
                pass

    asyncio.run(bound_again())


def test_a_scraper_that_keeps_its_connection_does_not_hold_the_end_up() -> None:
    async def scraped() -> None:
        async with aiohttp.ClientSession() as client:
            async with serve(LOOPBACK, every_metric(), well, well) as ports:
                await (await client.get(f"http://127.0.0.1:{ports.metrics}/metrics")).read()
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.get(f"http://127.0.0.1:{ports.metrics}/metrics")

    asyncio.run(scraped())


class Slow(Collector):
    """A metric that takes its time, and remembers where and how often it was asked for."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.may_go_on = threading.Event()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        self.threads.append(threading.get_ident())
        self.may_go_on.wait(30)
        yield GaugeMetricFamily("kubetune_slow", "Slow.", value=1)


def test_a_flood_of_scrapes_makes_one_page_and_leaves_the_loop_and_the_probes_alone() -> None:
    """S2: asked 200 times at once, the loop would stall for seconds and the leader lose its Lease."""
    slow, metrics = Slow(), every_metric()
    metrics.registry.register(slow)

    async def scraped(client: aiohttp.ClientSession, port: int) -> str:
        try:
            async with client.get(f"http://127.0.0.1:{port}/metrics") as answer:
                return await answer.text()
        except aiohttp.ClientConnectionError:
            return "refused"

    async def flood() -> list[str]:
        async with serve(LOOPBACK, metrics, well, well) as ports, without_limit() as client:
            scrapes = [asyncio.create_task(scraped(client, ports.metrics)) for _ in range(200)]
            while sum(scrape.done() for scrape in scrapes) < 200 - SCRAPES.connections:
                await asyncio.sleep(0.01)
            async with client.get(f"http://127.0.0.1:{ports.health}/readyz") as probe:
                assert await probe.text() == "ok\n"
            slow.may_go_on.set()
            return await asyncio.gather(*scrapes)

    answers = asyncio.run(flood())
    assert len(slow.threads) == 1
    assert slow.threads[0] != threading.get_ident(), "pages are not made on the loop"
    assert answers.count("refused") == 200 - SCRAPES.connections
    assert sum("kubetune_slow 1.0" in answer for answer in answers) == SCRAPES.connections


def without_limit() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def test_a_page_counts_for_a_moment_and_for_both_formats_whatever_the_header_says() -> None:
    """S2"""
    slow, metrics, now = Slow(), every_metric(), [0.0]
    slow.may_go_on.set()
    metrics.registry.register(slow)

    async def asked() -> list[int]:
        exposition, counts = Exposition(metrics, lambda: now[0]), list[int]()
        for seconds, accept in ((0, ""), (0.4, "text/plain;version=1.0.0"), (0.4, "*/*"), (0.6, ""), (0.6, OPEN)):
            now[0] = seconds
            await exposition.page(accept)
            counts.append(len(slow.threads))
        for version in range(5):
            await exposition.page(f"application/openmetrics-text;version=1.0.{version}")
        return [*counts, len(slow.threads)]

    assert asyncio.run(asked()) == [1, 1, 1, 2, 3, 3]


def probed(port: int, seconds: float = 30) -> str:
    """What the kubelet hears, over a connection of its own as it has one for each probe."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


async def silent(port: int, address: str = "127.0.0.1") -> asyncio.StreamWriter:
    return (await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))[1]


def left(connection: socket.socket) -> bytes:
    """What came until the server closed it."""
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


def beside(do: Callable[[Ports], Awaitable[T]], probes: Limits = PROBED) -> T:
    """What is found beside a server."""

    async def served() -> T:
        async with serve(LOOPBACK, every_metric(), well, well, probes=probes) as ports:
            return await do(ports)

    return asyncio.run(served())


def test_silent_connections_do_not_keep_the_probes_out() -> None:
    """S2: where no NetworkPolicy is enforced, any pod may open them, and the kubelet would end both replicas."""

    async def besieged(ports: Ports) -> str:
        held = [await silent(ports.health) for _ in range(PROBED.connections + 50)]
        answer = await asyncio.to_thread(probed, ports.health)
        for connection in held:
            connection.transport.abort()
        return answer

    assert beside(besieged).endswith("ok\n")


def test_connections_that_come_at_once_wait_for_their_turn() -> None:
    """S2: the kernel drops what its queue has no room for, and the kubelet's probe would begin anew a second later."""

    async def besieged(ports: Ports) -> str:
        # All on the loop, which cannot take any meanwhile.
        held = [socket.create_connection(("127.0.0.1", ports.health), timeout=5) for _ in range(500)]
        answer = await asyncio.to_thread(probed, ports.health)
        for connection in held:
            connection.close()
        return answer

    assert beside(besieged).endswith("ok\n")


FLOOD = """
import collections, socket, sys
held = collections.deque()
while True:
    held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
    if len(held) == 1:
        print("begun", flush=True)
    if len(held) > int(sys.argv[2]):
        held.popleft().close()
"""


def test_the_probes_answer_while_connections_come_without_end() -> None:
    """S2: from one address, as fast as one process opens them; the limit is that of the chart."""

    async def besieged(ports: Ports) -> list[str]:
        command = [sys.executable, "-c", FLOOD, str(ports.health), str(PROBED.connections + 50)]
        attack = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert attack.stdout is not None
        await attack.stdout.readline()
        try:
            return [await asyncio.to_thread(probed, ports.health, CHART_SECONDS) for _ in range(50)]
        finally:
            attack.kill()
            await attack.wait()

    answers = beside(besieged)
    assert [answer for answer in answers if not answer.endswith("ok\n")] == []


@pytest.mark.parametrize("said", [b"", b"GET /readyz HTTP/1.1\r\nHost: "], ids=["nothing", "half of a request"])
def test_a_connection_without_a_whole_request_is_closed(said: bytes) -> None:
    """S2"""

    def waited(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(said)
            return left(connection)

    few = Limits(connections=4, idle_seconds=0.1, accepted=4)
    assert beside(lambda ports: asyncio.to_thread(waited, ports.health), few) == b""


def test_a_probe_is_the_last_request_of_its_connection() -> None:
    """S2"""
    assert "Connection: close" in beside(lambda ports: asyncio.to_thread(probed, ports.health))


def test_one_address_does_not_close_the_connections_of_another() -> None:
    """S2: a scraper keeps its connection, and the kubelet has its own while it asks."""

    async def besieged(ports: Ports) -> bytes:
        reader, scraper = await asyncio.open_connection("127.0.0.1", ports.metrics)
        held = [await silent(ports.metrics, "127.0.0.2") for _ in range(5 * SCRAPES.connections)]
        scraper.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.readline()
        for connection in (scraper, *held):
            connection.transport.abort()
        return answer

    assert beside(besieged) == b"HTTP/1.1 404 Not Found\r\n"
