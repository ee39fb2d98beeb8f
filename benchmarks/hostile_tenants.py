"""Measures what tenants can do to the operator with what they may make themselves, on a real API server.

python benchmarks/hostile_tenants.py                       # part of `make bench-control-plane`; some minutes
python benchmarks/hostile_tenants.py volume --objects 100  # a first impression of one part

volume: the largest objects that the API server takes, under our labels. looks: suspended jobs, and two changes a second
of what their namespace shares. scrapes: the metrics, asked for 200 times at once for a while. Two replicas run. What a
tenant must not be able to cause: a change of the leader, a restart, an event loop that stands still for long.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from control_plane import at_once, settled, show  # noqa: E402

from kubetune_operator.jobs import names  # noqa: E402
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB  # noqa: E402
from kubetune_operator.machinery.api_server import ApiClient  # noqa: E402
from kubetune_operator.machinery.connection import load_connection  # noqa: E402
from kubetune_operator.machinery.kinds import CONFIG_MAP, SERVICE_ACCOUNT, Kind, Object  # noqa: E402
from kubetune_operator.machinery.labels import MANAGED  # noqa: E402
from servers.control_plane import ControlPlane, running_control_plane  # noqa: E402
from support.operator_process import Operator, install, job_body  # noqa: E402

TENANT, NEIGHBOUR = "tenant", "neighbour"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kubetune-system/leases/kubetune-operator"
SECONDS = 20.0
MOST = {"MiB": 1024.0, "changes of the leader": 0.0, "replicas that ended": 0.0}
"""More is an error; a replica may have as much memory as the chart gives it."""
AT_ONCE = 200


class Watched:
    """Two replicas, and how they fare."""

    def __init__(self, plane: ControlPlane, api: ApiClient, replicas: list[Operator]) -> None:
        self.plane, self.api, self.replicas = plane, api, replicas
        self.stall, self.memory = 0.0, 0.0

    async def watch(self) -> None:
        """The longest answer of a probe, which waits for the event loop, and the most memory."""
        while True:
            for replica in self.replicas:
                started = time.monotonic()
                await asyncio.to_thread(replica.get, "/healthz")
                self.stall = max(self.stall, time.monotonic() - started)
                with suppress(psutil.NoSuchProcess):
                    memory = psutil.Process(replica.process.pid).memory_info().rss / 2**20
                    self.memory = max(self.memory, memory)
            await asyncio.sleep(0.02)

    def transitions(self) -> int:
        """How often another replica became the leader."""
        return int(self.plane.get(LEASE).body["spec"].get("leaseTransitions", 0))

    async def neighbours_wait(self, name: str) -> float:
        """The seconds from another tenant's new job until it has a status."""
        started = time.monotonic()
        await self.api.create(FINE_TUNE_JOB, in_namespace(NEIGHBOUR, job_body(name)))
        while not ((await self.api.get(FINE_TUNE_JOB, NEIGHBOUR, name)) or {}).get("status"):
            await asyncio.sleep(0.02)
        return time.monotonic() - started


@asynccontextmanager
async def replicas(plane: ControlPlane, api: ApiClient, folder: Path) -> AsyncIterator[Watched]:
    """Two replicas with the settings of a cluster; both know the cluster."""
    settings = {"resync_seconds": "300", "progress_seconds": "15", "log_format": "json"}
    with ExitStack() as stack:
        made = [
            Operator(plane.admin_kubeconfig, folder, namespace="kubetune-system", name=name, **settings)
            for name in ("one", "two")
        ]
        for replica in made:
            replica.start(until_ready=False)
            stack.callback(replica.stop)
        watched = Watched(plane, api, made)
        watching = asyncio.create_task(watched.watch())
        try:
            while not all(replica.get("/readyz") == "ok\n" for replica in made):
                await asyncio.sleep(0.2)
            yield watched
        finally:
            watching.cancel()


def in_namespace(namespace: str, body: Object, **metadata: Any) -> Object:
    """The object with more of metadata."""
    return {**body, "metadata": {**body["metadata"], "namespace": namespace, **metadata}}


async def create_all(api: ApiClient, kind: Kind, objects: list[Object]) -> None:
    """Creates them."""
    await at_once([lambda each=each: api.create(kind, each) for each in objects])  # type: ignore[misc]


async def volume(plane: ControlPlane, api: ApiClient, folder: Path, count: int) -> dict[str, float]:
    """So many ConfigMaps of a megabyte under our label, and as many jobs with the longest lists of labels."""
    labels = [f"{number:065}" for number in range(1000)]
    jobs = [
        job_body(f"large-{number}", task={"type": "SequenceClassification", "labels": labels})
        for number in range(count)
    ]
    await create_all(api, FINE_TUNE_JOB, [in_namespace(TENANT, job) for job in jobs])
    maps = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"large-{number}",
                "namespace": TENANT,
                "labels": {**MANAGED, names.JOB_UID: f"uid-{number}", names.JOB: "none"},
            },
            "data": {"report.json": "x" * 1_000_000},
        }
        for number in range(count)
    ]
    await create_all(api, CONFIG_MAP, maps)
    async with replicas(plane, api, folder) as watched:
        await asyncio.sleep(SECONDS)
        return {"objects": 2 * count, "MiB": watched.memory, **fared(watched)}


async def looks(plane: ControlPlane, api: ApiClient, folder: Path, count: int) -> dict[str, float]:
    """So many suspended jobs of one tenant, and two changes a second of what they share."""
    jobs = [in_namespace(TENANT, job_body(f"job-{number}", suspend=True)) for number in range(count)]
    await create_all(api, FINE_TUNE_JOB, jobs)
    async with replicas(plane, api, folder) as watched:
        leader = next(replica for replica in watched.replicas if replica.metric("kubetune_leader") == 1)
        await settled(leader)  # each job has its first status
        at_start, watched.stall = watched.stall, 0.0
        changing = asyncio.create_task(change_for_ever(api))
        waits = [await watched.neighbours_wait(f"small-{number}") for number in range(10)]
        await asyncio.sleep(SECONDS)
        changing.cancel()
        return {
            "suspended jobs": count,
            "longest stall while it starts, s": at_start,
            "longest wait of another tenant, s": max(waits),
            **fared(watched),
        }


async def change_for_ever(api: ApiClient) -> None:
    """Two changes a second: of a ConfigMap under our label, and of the ServiceAccount that jobs share."""
    change = 0
    while True:
        change += 1
        for kind, name in ((CONFIG_MAP, "labelled"), (SERVICE_ACCOUNT, names.HEAD_ACCOUNT)):
            labels = {**MANAGED, "change": str(change)}
            metadata = {"name": name, "namespace": TENANT, "labels": labels}
            await api.apply(kind, {"apiVersion": "v1", "kind": kind.name, "metadata": metadata})
        await asyncio.sleep(0.5)


async def scrapes(plane: ControlPlane, api: ApiClient, folder: Path, count: int) -> dict[str, float]:
    """Many that ask for the metrics at once, again and again, where so many jobs are."""
    jobs = [in_namespace(TENANT, job_body(f"asked-{number}", suspend=True)) for number in range(count)]
    await create_all(api, FINE_TUNE_JOB, jobs)
    async with replicas(plane, api, folder) as watched:
        await asyncio.sleep(5)
        watched.stall, ends, asked = 0.0, time.monotonic() + SECONDS, 0
        urls = [f"http://127.0.0.1:{replica.port}/metrics" for replica in watched.replicas]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

            async def ask(url: str) -> None:
                nonlocal asked
                while time.monotonic() < ends:
                    asked += 1
                    with suppress(aiohttp.ClientError):
                        async with client.get(url) as answer:
                            await answer.read()
                    await asyncio.sleep(0.01)

            await asyncio.gather(*(ask(url) for url in urls for _ in range(AT_ONCE)))
        return {"jobs": count, "requests": asked, **fared(watched)}


def fared(watched: Watched) -> dict[str, float]:
    """What must not happen."""
    alive = [replica for replica in watched.replicas if psutil.Process(replica.process.pid).is_running()]
    return {
        "longest stall of an event loop, s": watched.stall,
        "changes of the leader": watched.transitions(),
        "replicas that ended": len(watched.replicas) - len(alive),
    }


PARTS: dict[str, tuple[Callable[..., Awaitable[dict[str, float]]], int]] = {
    "volume": (volume, 400),
    "looks": (looks, 10_000),
    "scrapes": (scrapes, 1000),
}
"""Each part, and its number of objects."""


async def measure(part: str, objects: int | None) -> list[str]:
    """One part on a control plane of its own; what a tenant was able to cause."""
    does, count = PARTS[part]
    with TemporaryDirectory(prefix="bench") as folder, running_control_plane(Path(folder), kuberay=False) as plane:
        install(plane)
        for namespace in (TENANT, NEIGHBOUR):
            plane.make_namespace(namespace)
        async with ApiClient(load_connection(str(plane.admin_kubeconfig)), lambda: True, lambda *_: None) as api:
            figures = await does(plane, api, Path(folder), objects or count)
    show(part, figures)
    return [f"{part}: {name}: {figures[name]:.0f}" for name, most in MOST.items() if figures.get(name, 0.0) > most]


def main() -> None:
    """Prints the figures of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--objects", type=int, help="how many, instead of the number of each part")
    arguments = parser.parse_args()
    caused = [one for part in arguments.parts or PARTS for one in asyncio.run(measure(part, arguments.objects))]
    if caused:
        raise SystemExit("\n".join(caused))


if __name__ == "__main__":
    main()
