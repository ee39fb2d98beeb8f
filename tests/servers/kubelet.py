"""Simulates the kubelet of a node that does not exist. The scheduler binds pods to it; tests say what becomes of them.

Nothing runs. KubeRay sees a RayCluster ready as soon as its pods are `running`; the state of its job comes from the
head's dashboard, which `RayHeads` simulates; a submitter's Job is complete once its pod has `succeeded`.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException

from servers import pod_status
from servers.kube_client import Answer, KubeClient, Object
from servers.pod_status import Exit

STEP_SECONDS = 0.1


class RefusedError(AssertionError):
    """The API server did not do what the node asked for."""


@dataclass
class Kubelet:
    """One node and its kubelet.

    A test acts on a pod by giving the object that it read, and gets it back as written: a controller may delete a
    failed pod at once, so that nobody can read it any more.
    """

    client: KubeClient
    name: str = "node-1"
    capacity: dict[str, str] = field(
        default_factory=lambda: {"cpu": "64", "memory": "512Gi", "pods": "500", "nvidia.com/gpu": "8"}
    )
    labels: dict[str, str] = field(default_factory=dict)
    keeps_deleted: bool = False
    """Whether pods that were deleted stay Terminating, as on a node that cannot be reached."""
    runs_new: bool = True
    """Whether `step` runs new pods."""
    _by_hand: set[str] = field(default_factory=set)
    """The UIDs of the pods whose fate a test has said: `step` does not run them."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def register(self) -> None:
        """Makes the node, Ready and empty."""
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", **self.labels}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}}
        _done(self.client.apply(self._node, node))
        self.set_ready(True)
        self.client.wait_for(self._node, lambda found: "taints" not in found["spec"])

    def set_ready(self, ready: bool) -> None:
        """Whether the node is Ready; if not, Kubernetes taints it, and the scheduler keeps away from it."""
        condition = {"type": "Ready", "status": str(ready), "reason": "Simulated", "lastTransitionTime": _now()}
        status = {"capacity": self.capacity, "allocatable": self.capacity, "conditions": [condition]}
        _done(self.client.merge(f"{self._node}/status", {"status": status}))

    def unregister(self) -> None:
        """Takes the node away, as when a machine is lost: its pods are Kubernetes' to remove."""
        self.client.delete(self._node)

    def pods(self, namespace: str = "", selector: str = "") -> list[Object]:
        """The pods that are bound to the node, of one namespace or of all, with the labels of the selector."""
        path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
        bound = self.client.get(path, fieldSelector=f"spec.nodeName={self.name}", labelSelector=selector)
        return list(_done(bound).body["items"])

    def run(self, pod: Object) -> Object:
        """All containers run and are ready."""
        return self._say(pod, pod_status.running)

    def succeed(self, pod: Object) -> Object:
        """All containers end with 0."""
        return self._say(pod, lambda found, now: pod_status.ended(found, "Succeeded", Exit(), now))

    def fail(self, pod: Object, code: int = 1, reason: str = "Error", message: str = "") -> Object:
        """All containers end with this code and are not started again."""
        return self._say(pod, lambda found, now: pod_status.ended(found, "Failed", Exit(code, reason, message), now))

    def fail_for_memory(self, pod: Object) -> Object:
        """The kernel kills all containers over their limit, and they are not started again."""
        return self._say(pod, lambda found, now: pod_status.ended(found, "Failed", pod_status.OUT_OF_MEMORY, now))

    def restart(self, pod: Object, end: Exit = pod_status.KILLED) -> Object:
        """All containers end so, and run again."""
        return self._say(pod, lambda found, now: pod_status.restarted(found, end, now))

    def remove(
        self, pod: Object, reason: str = "Evicted", message: str = "The node was low on resource: memory."
    ) -> Object:
        """The pod fails for a reason of the node: Evicted, Preempting, Terminated (the node shuts down), …"""
        return self._say(pod, lambda found, now: pod_status.removed(found, reason, message, now))

    def hold(self, pod: Object, reason: str = "ImagePullBackOff", message: str = "", container: str = "") -> Object:
        """No container can start, or this one alone cannot: ImagePullBackOff, CreateContainerConfigError, …"""
        return self._say(pod, lambda found, now: pod_status.waiting(found, reason, message, now, container))

    def initialise(self, pod: Object) -> Object:
        """Its init containers run, and do not end."""
        return self._say(pod, pod_status.initialising)

    def crash(self, pod: Object, container: str, end: Exit = pod_status.KILLED) -> Object:
        """This one of its containers ends so, and runs again."""
        return self._say(pod, lambda found, now: pod_status.restarted(found, end, now, container))

    def finish(self, pod: Object) -> None:
        """Lets a pod that was deleted go, without its grace period."""
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        gone = self.client.delete(_path(pod), options)
        if gone.status not in (404, 409):
            _done(gone)

    def step(self) -> None:
        """Runs all new pods that no test has said anything about, and lets deleted ones go."""
        with self._lock:
            for pod in self.pods():
                if "deletionTimestamp" in pod["metadata"]:
                    if not self.keeps_deleted:
                        self.finish(pod)
                elif self.runs_new and pod["metadata"]["uid"] not in self._by_hand and "startTime" not in pod["status"]:
                    self._write(pod, pod_status.running)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Runs no new pod as long as the `with` lasts; deleted ones go."""
        self.runs_new = False
        try:
            yield
        finally:
            self.runs_new = True

    @contextmanager
    def steps(self) -> Iterator[None]:
        """Takes such steps all the time, as long as the `with` lasts.

        An API server that is down is waited for, and so is one that has just started: it answers, but refuses what it
        has not yet read the rights for. A refusal that the last step met is raised at the end.
        """
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            steps = pool.submit(self._step_until, over)
            try:
                yield
            finally:
                over.set()
                if refusal := steps.result():
                    raise refusal

    def _step_until(self, over: threading.Event) -> RefusedError | None:
        refusal = None
        while not over.wait(STEP_SECONDS):
            try:
                self.step()
                refusal = None
            except RefusedError as refused:
                refusal = refused
            except (OSError, HTTPException):
                refusal = None
        return refusal

    @property
    def _node(self) -> str:
        return f"/api/v1/nodes/{self.name}"

    def _say(self, pod: Object, status: Callable[[Object, str], Object]) -> Object:
        """Writes the status over that of the pod as it is now; the pod as written."""
        with self._lock:
            self._by_hand.add(pod["metadata"]["uid"])
            return _done(self._write(_done(self.client.get(_path(pod))).body, status)).body

    def _write(self, pod: Object, status: Callable[[Object, str], Object]) -> Answer:
        return self.client.merge(f"{_path(pod)}/status", {"status": status(pod, _now())})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _done(answer: Answer) -> Answer:
    if not answer.accepted:
        raise RefusedError(answer.message)
    return answer


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
