"""Fault injection for tests of the operator: scenarios of jobs that go on by themselves, and what remains of them."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from servers.control_plane import ControlPlane
from servers.kube_client import Object, conditions
from servers.kubelet import Kubelet
from servers.proxy import WRITES, Fault, LoseReply, LoseRequest, Proxy, Request
from support.operator_process import GROUP, RAY, RESTRICTED, SimulatedJob

PATIENCE_SECONDS = 300.0
"""How long all scenarios of a test may take on a busy machine."""
FOR_EVER = 1_000_000
_COUNTED = r"^(?!/apis/events).*/namespaces/%s/(?!leases)"
"""A request to a namespace that is neither about events, which nobody reads back, nor about the Lease."""
_DIFFERS = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Times and UIDs."""
_OURS = (
    f"{RAY}/namespaces/%s/rayjobs",
    "/api/v1/namespaces/%s/configmaps",
    "/api/v1/namespaces/%s/serviceaccounts",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/%s/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/%s/rolebindings",
    "/apis/networking.k8s.io/v1/namespaces/%s/networkpolicies",
)


@dataclass
class JobScenario:
    """A job to which happens what happens to jobs: Ray takes it, it trains, it fails some times, it succeeds.

    What comes next depends on what the job's status says, so a scenario goes on whenever its operator does.
    """

    job: SimulatedJob
    failures: int = 0
    """How many attempts fail before one succeeds."""
    status: Object = field(default_factory=dict)
    """The job's, as it was seen last."""
    _happened: set[tuple[int, str]] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """Whether the job has ended, and has given its hardware back: nothing is written any more."""
        ended = self.status.get("phase") in ("Succeeded", "Failed")
        return ended and ("True", "Admitted") not in conditions({"status": self.status})

    def go_on(self, ray_ids: dict[str, str]) -> None:
        """Lets the next thing happen, if it is time for it; `ray_ids` are those of all RayJobs that Ray has taken."""
        status = self.status
        attempts = status.get("attempts") or [{"completionTime": "there is none yet"}]
        if self.over or "completionTime" in attempts[-1] or attempts[-1]["rayJob"] not in ray_ids:
            return
        number, ray_id = attempts[-1]["number"], ray_ids[attempts[-1]["rayJob"]]
        self._once(number, "runs", lambda: self.job.plane.heads.report(ray_id, "RUNNING"))
        if status["phase"] == "Running" and status["reason"] == "Starting":
            self._once(number, "trains", lambda: self.job.say(number, progress=_HALF))
        elif status["phase"] == "Running" and status["reason"] == "Training":
            self._once(number, "ends", lambda: self._end(number, ray_id))

    def _once(self, attempt: int, what: str, happen: Callable[[], None]) -> None:
        if (attempt, what) not in self._happened:
            happen()
            self._happened.add((attempt, what))

    def _end(self, attempt: int, ray_id: str) -> None:
        if attempt <= self.failures:
            self.job.say_failed("StorageFailed", attempt=attempt)
        else:
            self.job.say_succeeded(attempt)
            self.job.end_ray(ray_id)


_HALF = {"step": 1, "totalSteps": 2, "epoch": 0.5}


def run_scenarios(
    scenarios: Iterable[JobScenario],
    until: Callable[[JobScenario], bool] = lambda scenario: scenario.over,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Runs all scenarios until this holds of each; `meanwhile` happens again and again."""
    deadline, left = time.monotonic() + PATIENCE_SECONDS, list(scenarios)
    while left:
        plane = left[0].job.plane
        statuses = {_key(job): job.get("status", {}) for job in _items(plane, f"{GROUP}/finetunejobs")}
        ray_ids = {ray_job["metadata"]["name"]: ray_id for ray_job, ray_id in _taken(plane)}
        for scenario in left:
            scenario.status = statuses.get((scenario.job.namespace, scenario.job.name), {})
        left = [scenario for scenario in left if not until(scenario)]
        for scenario in left:
            scenario.go_on(ray_ids)
        if time.monotonic() > deadline:
            ray_jobs = {each["metadata"]["name"]: each.get("status", {}) for each in _items(plane, f"{RAY}/rayjobs")}
            stuck = [(scenario.status, ray_jobs.get(scenario.status["attempts"][-1]["rayJob"])) for scenario in left]
            raise TimeoutError(f"{len(left)} scenarios do not go on: {json.dumps(stuck)[:20000]}")
        meanwhile()
        time.sleep(0.2)


def _key(thing: Object) -> tuple[str, str]:
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def _taken(plane: ControlPlane) -> list[tuple[Object, str]]:
    """The RayJobs that KubeRay has taken up, with the names that Ray will have for them."""
    found = [(each, each.get("status", {})) for each in _items(plane, f"{RAY}/rayjobs")]
    return [(each, status["jobId"]) for each, status in found if status.get("jobId")]


def _items(plane: ControlPlane, path: str) -> list[Object]:
    """What is there; an API server that has just started may first answer that it must be asked again."""
    return list(plane.wait_for(path, lambda _: True)["items"])


def end_of(scenario: JobScenario) -> Object:
    """The job's status and which of our objects there are, without what differs from one scenario to the next.

    So does which RayCluster was seen last: a scenario is over in a second, in which a watch may not have come back.
    """
    job, stored = scenario.job, scenario.job.stored
    for attempt in stored["status"].get("attempts", []):
        attempt.pop("rayClusterUid", None)
    things = {path.rpartition("/")[2]: _names(job.plane, path % job.namespace) for path in _OURS}
    text = json.dumps({"status": stored["status"], "objects": things}, sort_keys=True)
    for own, word in ((job.namespace, "NAMESPACE"), (f"{job.name}-{stored['metadata']['uid'][:5]}", "JOB-UID")):
        text = text.replace(own, word)
    return dict(json.loads(_DIFFERS.sub("…", text.replace(job.name, "JOB"))))


def _names(plane: ControlPlane, path: str) -> list[str]:
    return sorted(thing["metadata"]["name"] for thing in _items(plane, path))


def namespaces(plane: ControlPlane, names: Iterable[str]) -> list[str]:
    """Makes many namespaces like those of tenants."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda name: plane.make_namespace(name, **RESTRICTED), names))


def steal_ray_job(scenario: JobScenario) -> None:
    """Somebody deletes the job's RayJob."""
    job = scenario.job
    (ray_job,) = job.ray_jobs()
    path = f"{RAY}/namespaces/{job.namespace}/rayjobs/{ray_job['metadata']['name']}"
    assert job.plane.delete(path).accepted
    job.plane.wait_until_gone(path)


@dataclass
class Writes:
    """Counts the writes that come to a proxy, by namespace; those of events and of the Lease are left out."""

    proxy: Proxy
    _read: int = 0
    _counts: Counter[str] = field(default_factory=Counter)

    def __getitem__(self, namespace: str) -> int:
        return self._up_to_now()[namespace]

    def of(self, scenarios: Iterable[JobScenario]) -> int:
        """Those to the namespaces of all these."""
        counts = self._up_to_now()
        return sum(counts[namespace] for namespace in {scenario.job.namespace for scenario in scenarios})

    def _up_to_now(self) -> Counter[str]:
        came = self.proxy.requests[self._read :]
        self._read += len(came)
        self._counts.update(match[1] for request in came if (match := _written(request)))
        return self._counts


def _written(request: Request) -> re.Match[str] | None:
    return re.search(_COUNTED % "([^/]+)", request.path) if request.method in WRITES else None


def cut_after(proxy: Proxy, namespace: str, number: int) -> None:
    """The write of this number to the namespace is the operator's last: no answer comes, and no other one arrives."""
    path = _COUNTED % namespace
    proxy.disturb(LoseReply(), path=path, nth=number)
    proxy.disturb(LoseRequest(), path=path, nth=number + 1, times=FOR_EVER)


def disturb_every_third(proxy: Proxy, fault: Fault, namespace: str, first: int) -> None:
    """The fault happens to every third write to the namespace, from the given one on."""
    for nth in range(first, 200, 3):
        proxy.disturb(fault, path=_COUNTED % namespace, nth=nth)


def begin(plane: ControlPlane, node: Kubelet, namespace: str, failures: int = 0, **spec: Any) -> JobScenario:
    """A scenario with a new job; its attempts follow each other at once."""
    spec = {"retry": {"maxAttempts": 3, "backoffSeconds": 0}, **spec}
    return JobScenario(SimulatedJob(plane, node, namespace).apply(**spec), failures)
