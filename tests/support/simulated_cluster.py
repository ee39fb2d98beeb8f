"""A cluster in memory on which plans are carried out as the controller does it, write by write; the operator may die
after any of them. KubeRay, the nodes, the queue and the users do what a test says.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from kubetune_api.run_report import KEY
from kubetune_operator.jobs import names
from kubetune_operator.jobs.plans import JobPlan
from kubetune_operator.machinery.differences import is_as_wanted, merge_patch, trimmed
from kubetune_operator.machinery.kinds import Object
from support.observed_jobs import (
    JOB,
    SETTINGS,
    after,
    at,
    cache_of,
    condition,
    decided,
    job,
    job_key,
    pod,
    profile,
    ray_cluster,
    report,
)

_RUNNING_KINDS = ("RayJob", "RayCluster", "Pod")


class DiedError(Exception):
    """The operator's process is no more."""


class SimulatedCluster:
    """One job's life. What is said of time is in seconds after `START`."""

    def __init__(self, dies_after: int | None = None, **spec: Any) -> None:
        self.things: dict[tuple[str, str], Object] = {}
        self.now = 0.0
        self.writes = 0
        self.dies_after = dies_after
        """The write that is the operator's last; a new process takes over then."""
        self.created: list[str] = []
        """Every RayJob that was ever created, in order."""
        self.again_after: float | None = None
        self._versions = 0
        self._cache = cache_of()
        for thing in (profile(), job(**spec)):
            self._put(thing)

    @property
    def status(self) -> Object:
        """The job's status, as it is stored."""
        found: Object = self.things["FineTuneJob", JOB].get("status", {})
        return found

    @property
    def phase(self) -> str:
        """The job's phase, as people see it."""
        return str(self.status.get("phase", ""))

    @property
    def names(self) -> set[tuple[str, str]]:
        """Everything that there is."""
        return set(self.things)

    def dies_within(self, writes: int) -> None:
        """The operator looks once, and dies after so many writes if it makes as many."""
        self.dies_after = self.writes + writes
        try:
            self.look()
        except DiedError:
            self._start_anew()
        self.dies_after = None

    def settle(self) -> "SimulatedCluster":
        """The operator looks until there is nothing more to do for it."""
        for _ in range(20):
            try:
                if not self.look():
                    return self
            except DiedError:
                self._start_anew()
        raise AssertionError(f"the operator does not come to rest: {self.status}")

    def look(self) -> bool:
        """One look of the operator; whether it wrote anything."""
        before, plan = self.writes, self._plan()
        self.again_after = plan.again_after
        self._carry_out(plan)
        return self.writes > before

    def after(self, *acts: "Act") -> "SimulatedCluster":
        """The acts one after another, the operator settling after each."""
        self.settle()
        for act in acts:
            act(self)
            self.settle()
        return self

    def change(self, kind: str, name: str, **changes: Any) -> None:
        """Others change fields of an object's status."""
        if thing := self.things.get((kind, name)):
            self._put({**thing, "status": {**thing.get("status", {}), **changes}})

    def put(self, thing: Object) -> None:
        """Others create an object."""
        self._put(thing)

    def remove(self, *kinds: str) -> None:
        """All objects of these kinds are gone."""
        for key in [key for key in self.things if key[0] in kinds]:
            self._drop(key)

    def of(self, kind: str) -> list[Object]:
        """The objects of a kind."""
        return [thing for (of, _), thing in self.things.items() if of == kind]

    def _start_anew(self) -> None:
        """Another process takes over, which knows nothing but what is there now."""
        self.dies_after, self._cache = None, cache_of(*self.things.values())

    def _plan(self) -> JobPlan:
        self._cache.answers.forget(job_key())  # an answer holds for real seconds
        return decided(self._cache, self.things.values(), SETTINGS, after(self.now))

    def _carry_out(self, plan: JobPlan) -> None:
        thing = self.things["FineTuneJob", JOB]
        if merge_patch(self.status, plan.status.to_dict()):
            self._write(partial(self._put, {**thing, "status": plan.status.to_dict()}))
        for wanted in plan.apply:
            self._apply(wanted)
        if plan.create is not None:
            self._write(partial(self._create, plan.create))
        for ref in plan.delete:
            key = (ref.kind.name, ref.name)
            if self.things[key]["metadata"]["uid"] == ref.uid:
                self._write(partial(self._drop, key))

    def _write(self, act: Callable[[], Any]) -> None:
        act()
        self.writes += 1
        if self.writes == self.dies_after:
            raise DiedError

    def _apply(self, wanted: Object) -> None:
        live = self.things.get((wanted["kind"], wanted["metadata"]["name"]))
        if live is not None and is_as_wanted(trimmed(live), wanted):
            return
        assert live is None or not live.get("immutable"), "the API server refuses to change an immutable ConfigMap"
        metadata = {"uid": f"uid-of-{wanted['kind']}-{wanted['metadata']['name']}", **wanted["metadata"]}
        self._write(partial(self._put, {**(live or {}), **wanted, "metadata": metadata}))

    def _create(self, wanted: Object) -> None:
        left = [name for kind, name in self.things if kind in _RUNNING_KINDS]
        assert not left, f"an attempt is created while {left} are still there"
        name = wanted["metadata"]["name"]
        metadata = {
            **wanted["metadata"],
            "uid": f"uid-of-{name}-{len(self.created)}",
            "creationTimestamp": at(self.now),
        }
        self.created.append(name)
        self._put({**wanted, "metadata": metadata})

    def _put(self, thing: Object) -> None:
        self._versions += 1
        thing = {**thing, "metadata": {**thing["metadata"], "resourceVersion": str(self._versions)}}
        self.things[thing["kind"], thing["metadata"]["name"]] = thing
        self._cache.put(thing)

    def _drop(self, key: tuple[str, str]) -> None:
        self._cache.gone(self.things.pop(key))


Act = Callable[[SimulatedCluster], None]


def pods_run(cluster: SimulatedCluster) -> None:
    """KubeRay makes the pods, the nodes start them, and Ray takes the run."""
    for ray_job in cluster.of("RayJob"):
        if ray_job["spec"]["suspend"] or ray_job.get("status", {}).get("jobDeploymentStatus"):
            continue
        number = int(ray_job["metadata"]["labels"][names.ATTEMPT])
        cluster.put(ray_cluster(number))
        for role in ("head", "worker", "submitter"):
            cluster.put(pod(role, number, ready=True, phase="Running", created=cluster.now))
        cluster.change("RayJob", ray_job["metadata"]["name"], jobDeploymentStatus="Running", jobStatus="RUNNING")


def queue_admits(cluster: SimulatedCluster) -> None:
    """Kueue lets the RayJob go."""
    _suspend(cluster, False)


def queue_takes_back(cluster: SimulatedCluster) -> None:
    """Kueue needs the quota for somebody else: KubeRay ends the pods."""
    _suspend(cluster, True)
    for ray_job in cluster.of("RayJob"):
        cluster.change("RayJob", ray_job["metadata"]["name"], jobDeploymentStatus="", jobStatus="")
    cluster.remove("Pod", "RayCluster")


def trainer_says(**said: Any) -> Act:
    """The head of the running attempt reports."""

    def act(cluster: SimulatedCluster) -> None:
        for ray_job in cluster.of("RayJob"):
            told = report(int(ray_job["metadata"]["labels"][names.ATTEMPT]), **said)
            there = cluster.things.get(("ConfigMap", told["metadata"]["name"]))
            if there and ray_job.get("status", {}).get("jobDeploymentStatus") == "Running":
                cluster.put({**there, "data": {KEY: told["data"][KEY]}})

    return act


def ray_job_ends(deployment: str = "Complete", job: str = "SUCCEEDED") -> Act:
    """KubeRay sees the end of the run."""

    def act(cluster: SimulatedCluster) -> None:
        for ray_job in cluster.of("RayJob"):
            if ray_job.get("status", {}).get("jobDeploymentStatus") == "Running":
                end = {"jobDeploymentStatus": deployment, "jobStatus": job, "endTime": at(cluster.now)}
                cluster.change("RayJob", ray_job["metadata"]["name"], **end)

    return act


def node_is_lost(cluster: SimulatedCluster) -> None:
    """The node of every worker goes away."""
    lost = condition("DisruptionTarget", reason="DeletionByTaintManager", message="the node is not ready")
    for found in cluster.of("Pod"):
        if found["metadata"]["labels"][names.ROLE] == "worker":
            cluster.change("Pod", found["metadata"]["name"], conditions=[lost])


def pods_end(cluster: SimulatedCluster) -> None:
    """The pods and clusters of RayJobs that are over or gone are gone, too."""
    if all(found.get("status", {}).get("jobDeploymentStatus") != "Running" for found in cluster.of("RayJob")):
        cluster.remove("Pod", "RayCluster")


def somebody_deletes_the_ray_job(cluster: SimulatedCluster) -> None:
    """A user with `kubectl`, say."""
    cluster.remove("RayJob")


def spec(**changes: Any) -> Act:
    """The user changes fields of the job's spec."""

    def act(cluster: SimulatedCluster) -> None:
        thing = cluster.things["FineTuneJob", JOB]
        metadata = {**thing["metadata"], "generation": thing["metadata"]["generation"] + 1}
        cluster.put({**thing, "metadata": metadata, "spec": {**thing["spec"], **changes}})

    return act


def seconds(number: float) -> Act:
    """Time passes."""

    def act(cluster: SimulatedCluster) -> None:
        cluster.now += number

    return act


def _suspend(cluster: SimulatedCluster, value: bool) -> None:
    for ray_job in cluster.of("RayJob"):
        cluster.put({**ray_job, "spec": {**ray_job["spec"], "suspend": value}})
