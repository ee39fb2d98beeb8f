"""Measures the operator against a bare client that issues the same writes, on a real API server in one run.

python benchmarks/control_plane.py            # `make bench-control-plane`; about half an hour on two cores
python benchmarks/control_plane.py --jobs 100 # a first impression

KubeRay's operator does not run, so that nobody competes for the API server; its CRDs are there.
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from kubetune_operator.jobs.kinds import FINE_TUNE_JOB, RAY_JOB  # noqa: E402
from kubetune_operator.machinery.api_server import ApiClient  # noqa: E402
from kubetune_operator.machinery.connection import load_connection  # noqa: E402
from kubetune_operator.machinery.kinds import CONFIG_MAP, ROLE, ROLE_BINDING, Object  # noqa: E402
from servers.build import kuberay_crds  # noqa: E402
from servers.control_plane import ControlPlane, running_control_plane  # noqa: E402
from support.async_scenarios import listed  # noqa: E402
from support.operator_process import Operator, install, job_body  # noqa: E402

WRITTEN = (CONFIG_MAP, ROLE, ROLE_BINDING, RAY_JOB)
"""The kinds of a job's own objects, in the order in which they are written."""
NAMESPACES = 20
HANDS = 16
"""Requests at the same time, of the operator and of the bare client alike."""
OPEN_LOOP_RATES, OPEN_LOOP_SECONDS = (20.0, 5.0), 20
"""Jobs per second: that of the goal, and one that leaves the API server of two cores room."""
IDLE_SECONDS = 60.0


@dataclass
class Bench:
    """A control plane with the operator's CRDs, and a client."""

    plane: ControlPlane
    api: ApiClient
    folder: Path
    namespaces: list[str] = field(default_factory=list)

    def new_namespaces(self, what: str) -> None:
        """Twenty new ones: the first job of each makes what its jobs share."""
        self.namespaces = [self.plane.make_namespace(f"{what}-{number}") for number in range(NAMESPACES)]

    def job(self, number: int) -> Object:
        """A job of one of the namespaces, in turn."""
        body = job_body(f"job-{number}")
        body["metadata"]["namespace"] = self.namespaces[number % NAMESPACES]
        return body

    @contextmanager
    def operator(self, name: str) -> Iterator[tuple[Operator, psutil.Process]]:
        """A replica with the settings that a cluster has."""
        settings = {"resync_seconds": "300", "progress_seconds": "15", "stuck_seconds": "300", "log_format": "json"}
        operator = Operator(
            self.plane.admin_kubeconfig, self.folder, namespace="kubetune-system", name=name, **settings
        )
        operator.start()
        try:
            yield operator, psutil.Process(operator.process.pid)
        finally:
            operator.stop()


async def at_once(work: Iterable[Callable[[], Awaitable[object]]], hands: int = HANDS) -> float:
    """Does it all, so much at the same time; the seconds it took."""
    waiting = iter(list(work))

    async def hand() -> None:
        for task in waiting:
            await task()

    started = time.monotonic()
    await asyncio.gather(*(hand() for _ in range(hands)))
    return time.monotonic() - started


async def create_jobs(bench: Bench, count: int) -> None:
    """Many jobs as fast as the API server takes them."""
    jobs = [bench.job(number) for number in range(count)]
    await at_once([lambda job=job: bench.api.create(FINE_TUNE_JOB, job) for job in jobs], hands=32)  # type: ignore[misc]


async def until(holds: Callable[[], bool]) -> None:
    """Returns when this holds."""
    while not holds():
        await asyncio.sleep(0.2)


def made(operator: Operator) -> float:
    """The RayJobs that the operator has created."""
    return operator.metric("kubetune_api_requests_total", verb="create", resource="rayjobs", code="201")


def requests(operator: Operator) -> float:
    """The writes that the operator asked of the API server, but for those of its Lease."""
    # One scrape: between two, the Lease may be renewed.
    found = re.findall(r"^kubetune_api_requests_total\{(.*)\} (\S+)$", operator.get("/metrics") or "", re.MULTILINE)
    reads = ('verb="get"', 'verb="list"', 'verb="watch"', 'resource="leases"')
    return sum(float(value) for labels, value in found if not any(read in labels for read in reads))


async def burst(bench: Bench, count: int) -> dict[str, float]:
    """So many jobs as fast as they can be created, until each has its RayJob."""
    bench.new_namespaces(f"burst{count}")
    with bench.operator(f"burst{count}") as (operator, process):
        await until(lambda: operator.metric("kubetune_leader") == 1)
        started = time.monotonic()
        await create_jobs(bench, count)
        await until(lambda: made(operator) >= count)
        seconds = time.monotonic() - started
        await quiet(operator)
        events = operator.metric("kubetune_api_requests_total", resource="events")
        shared = operator.metric("kubetune_api_requests_total", resource="serviceaccounts")
        shared += operator.metric("kubetune_api_requests_total", resource="networkpolicies")
        return {
            "seconds": seconds,
            "jobs/s": count / seconds,
            "requests/job": (requests(operator) - events - shared) / count,
            "events/job": events / count,
            "MiB": process.memory_info().rss / 2**20,
        }


async def quiet(operator: Operator) -> None:
    """Returns when the operator has had nothing to write for two seconds."""
    before = -1.0
    while (now := requests(operator)) != before:
        before = now
        await asyncio.sleep(2)


async def settled(operator: Operator) -> None:
    """Returns when no job waits to be looked at."""
    await quiet(operator)
    await until(lambda: operator.metric("kubetune_work_queue_length") == 0)
    await quiet(operator)


async def bare_client(bench: Bench, count: int, template: dict[str, Any]) -> float:
    """The seconds that a loop of nothing but the same writes takes, on copies of what the operator made."""
    bench.new_namespaces(f"bare{count}")
    jobs = [bench.job(number) for number in range(count)]
    return await at_once([lambda job=job: life_of_one(bench, job, template) for job in jobs])  # type: ignore[misc]


async def life_of_one(bench: Bench, job: Object, template: dict[str, Any]) -> None:
    """The job, and all that is written for it."""
    await writes_of_one(bench, await bench.api.create(FINE_TUNE_JOB, job), template)


async def written_for(bench: Bench, number: int) -> dict[str, Any]:
    """What the operator wrote for one job: its first status, and its own objects."""
    job = await bench.api.get(FINE_TUNE_JOB, bench.job(number)["metadata"]["namespace"], f"job-{number}")
    assert job is not None
    selector = f"kubetune.dev/job-uid={job['metadata']['uid']}"
    things = []
    for kind in WRITTEN:
        found, _ = await listed(bench.api, kind, selector=selector)
        things += found
    return {"status": job["status"], "things": things}


async def writes_of_one(bench: Bench, job: Object, template: dict[str, Any]) -> None:
    """The first status, the objects, and the second status, when the RayJob is seen."""
    metadata = job["metadata"]
    await bench.api.patch_status(
        FINE_TUNE_JOB,
        metadata["namespace"],
        metadata["name"],
        template["status"],
        resource_version=metadata["resourceVersion"],
    )
    for thing in template["things"]:
        copied = copy_for(thing, job)
        if thing["kind"] == "RayJob":
            await bench.api.create(RAY_JOB, copied)
        else:
            await bench.api.apply(next(kind for kind in WRITTEN if kind.name == thing["kind"]), copied)
    current = await bench.api.get(FINE_TUNE_JOB, metadata["namespace"], metadata["name"])
    assert current is not None
    await bench.api.patch_status(
        FINE_TUNE_JOB,
        metadata["namespace"],
        metadata["name"],
        {"message": "seen"},
        resource_version=current["metadata"]["resourceVersion"],
    )


def copy_for(thing: Object, job: Object) -> Object:
    """The same object for another job."""
    copied: Object = json.loads(json.dumps(thing))
    labels = {**copied["metadata"]["labels"], "kubetune.dev/job": job["metadata"]["name"]}
    copied["metadata"] = {
        "name": f"{job['metadata']['name']}-{copied['kind'].lower()}-{'im' if copied.get('immutable') else 'x'}",
        "namespace": job["metadata"]["namespace"],
        "labels": {**labels, "kubetune.dev/job-uid": job["metadata"]["uid"]},
        "ownerReferences": [{**copied["metadata"]["ownerReferences"][0], "uid": job["metadata"]["uid"]}],
    }
    copied.pop("status", None)
    if copied["kind"] == "ConfigMap" and not copied.get("immutable"):
        copied.pop("data", None)
    return copied


async def open_loop(bench: Bench, rate: float) -> dict[str, float]:
    """Jobs that come at a fixed rate: from the answer to a job's creation to the news of its RayJob."""
    bench.new_namespaces(f"steady{rate:.0f}")
    jobs = int(rate * OPEN_LOOP_SECONDS)
    created: dict[str, float] = {}
    seen: dict[str, float] = {}
    with bench.operator("steady") as (operator, _):
        # Not while it looks at everything that was there before, nor at what the first job of a namespace makes.
        for number in range(NAMESPACES):
            await bench.api.create(FINE_TUNE_JOB, bench.job(jobs + number))
        await until(lambda: made(operator) >= NAMESPACES)
        await settled(operator)
        _, version = await listed(bench.api, RAY_JOB, metadata_only=True)
        watching = asyncio.create_task(watch_ray_jobs(bench, version, seen))
        started = time.monotonic()
        for number in range(jobs):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            job = bench.job(number)
            await bench.api.create(FINE_TUNE_JOB, job)
            created[f"{job['metadata']['namespace']}/{job['metadata']['name']}"] = time.monotonic()
        while len(seen) < jobs and time.monotonic() - started < 120:
            await asyncio.sleep(0.1)
        watching.cancel()
        await quiet(operator)
    waits = sorted(seen[key] - created[key] for key in created if key in seen)
    return {
        "jobs seen": len(waits),
        "p50 ms": statistics.median(waits) * 1000,
        "p99 ms": waits[int(len(waits) * 0.99) - 1] * 1000,
    }


async def watch_ray_jobs(bench: Bench, version: str, seen: dict[str, float]) -> None:
    """Notes when each job's RayJob is told of."""
    async for what, thing in bench.api.watch(RAY_JOB, resource_version=version):
        if what == "ADDED":
            metadata = thing["metadata"]
            seen[f"{metadata['namespace']}/{metadata['labels']['kubetune.dev/job']}"] = time.monotonic()


async def restart(bench: Bench) -> dict[str, float]:
    """A new process over everything that is there: until each job was looked at, against a bare list and parse."""
    started = time.monotonic()
    for kind in (FINE_TUNE_JOB, *WRITTEN):
        await listed(bench.api, kind)
    bare = time.monotonic() - started
    jobs = len((await listed(bench.api, FINE_TUNE_JOB, metadata_only=True))[0])
    started = time.monotonic()
    with bench.operator("restart") as (operator, process):
        while operator.metric("kubetune_reconcile_seconds_count") < jobs:
            await asyncio.sleep(0.1)
        seconds = time.monotonic() - started
        before = requests(operator)
        await asyncio.sleep(IDLE_SECONDS)
        return {
            "jobs": jobs,
            "seconds until every job was looked at": seconds,
            "times a bare list and parse": seconds / bare,
            "writes": before,
            f"writes in {IDLE_SECONDS:.0f} s idle": requests(operator) - before,
            "MiB": process.memory_info().rss / 2**20,
        }


async def failover(bench: Bench) -> dict[str, float]:
    """From SIGKILL to the leader until the other replica leads."""
    bench.new_namespaces("failover")
    with bench.operator("first") as (first, _), bench.operator("second") as (second, _):
        assert first.metric("kubetune_leader") == 1
        first.kill()
        killed = time.monotonic()
        while second.metric("kubetune_leader") != 1:
            await asyncio.sleep(0.05)
        return {"seconds": time.monotonic() - killed}


@contextmanager
def fresh_plane() -> Iterator[tuple[ControlPlane, Path]]:
    """A control plane without any job."""
    with TemporaryDirectory(prefix="bench") as folder, running_control_plane(Path(folder), kuberay=False) as plane:
        plane.install_crds(kuberay_crds())
        install(plane)
        yield plane, Path(folder)


async def measure_operator(sizes: list[int]) -> tuple[dict[int, float], dict[str, Any]]:
    """All that the operator does; the seconds of each burst, and what it wrote for one job."""
    with fresh_plane() as (plane, folder):
        async with ApiClient(load_connection(str(plane.admin_kubeconfig)), lambda: True, lambda *_: None) as api:
            bench, seconds = Bench(plane, api, folder), {}
            for size in sizes:
                figures = await burst(bench, size)
                seconds[size] = figures["seconds"]
                show(f"burst of {size} jobs over {NAMESPACES} namespaces", figures)
            template = await written_for(bench, 0)
            for rate in OPEN_LOOP_RATES:
                show(f"{rate:.0f} jobs/s, open loop", await open_loop(bench, rate))
            show("restart over unchanged jobs", await restart(bench))
            show("failover after SIGKILL", await failover(bench))
            return seconds, template


async def measure_bare_client(operator: dict[int, float], template: dict[str, Any]) -> None:
    """The same bursts in the same order on as fresh a server, for it slows down with what it holds."""
    with fresh_plane() as (plane, folder):
        async with ApiClient(load_connection(str(plane.admin_kubeconfig)), lambda: True, lambda *_: None) as api:
            bench = Bench(plane, api, folder)
            for size, seconds in operator.items():
                took = await bare_client(bench, size, template)
                share = {"jobs/s": size / took, "share of it that the operator reaches": took / seconds}
                show(f"bare client, {size} jobs", share)


def show(what: str, figures: dict[str, float]) -> None:
    """One line for each figure."""
    print(what, flush=True)
    for name, value in figures.items():
        print(f"  {name:42} {value:10.2f}", flush=True)


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, action="append", help="the size of a burst; repeatable")
    sizes = parser.parse_args().jobs or [100, 1000, 5000]
    seconds, template = asyncio.run(measure_operator(sizes))
    asyncio.run(measure_bare_client(seconds, template))


if __name__ == "__main__":
    main()
