"""The operator under the ServiceAccount that the chart makes for it, with all the rights of that or all but one."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kubetune_operator.application import Application
from kubetune_operator.jobs import names
from kubetune_operator.machinery.connection import Connection
from kubetune_operator.machinery.labels import MANAGED_BY
from kubetune_operator.settings import Settings
from servers.kube import ApiServer
from servers.kube_client import WAIT_SECONDS, KubeClient
from support.chart import NAMESPACE, RELEASE, Object, Rule, rendered
from support.operator_process import RAY, SimulatedJob

RBAC = "/apis/rbac.authorization.k8s.io/v1"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
_OF_A_JOB = (
    f"{RAY}/namespaces/%s/rayjobs",
    f"{RAY}/namespaces/%s/rayclusters",
    "/api/v1/namespaces/%s/configmaps",
    f"{RBAC}/namespaces/%s/roles",
    f"{RBAC}/namespaces/%s/rolebindings",
)
"""Where that is which goes with the job's time."""


def until(holds: Callable[[], object]) -> None:
    """Returns once this holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("what the test waits for does not come")
        time.sleep(0.02)


def _operators() -> list[Object]:
    return [thing for thing in rendered() if thing["kind"] in _KINDS and thing["metadata"]["name"] == RELEASE]


@dataclass(frozen=True)
class Account:
    """The operator's ServiceAccount in a cluster, and its rights."""

    server: ApiServer
    objects: list[Object] = field(default_factory=_operators)
    """The chart's objects that are about them, as Helm renders them."""

    def make(self) -> KubeClient:
        """Makes it, with all its rights; its client."""
        for thing in self.objects:
            self._apply(thing)
        until(lambda: all(map(self._has, self.rights)))
        return self.server.as_service_account(NAMESPACE, RELEASE)

    @property
    def rights(self) -> list[Rule]:
        """What it may do, right by right."""
        return [right for thing in self.objects if "rules" in thing for right in _rights_of(thing)]

    @contextmanager
    def without(self, right: Rule) -> Iterator[None]:
        """It lacks this one right, as long as the `with` lasts."""
        (role,) = (thing for thing in self.objects if "rules" in thing and right in _rights_of(thing))
        self._apply({**role, "rules": [_alone(other) for other in _rights_of(role) if other != right]})
        until(lambda: not self._has(right))
        try:
            yield
        finally:
            self._apply(role)
            until(lambda: self._has(right))

    def _apply(self, thing: Object) -> None:
        answer = self.server.apply(path_of(thing), thing)
        assert answer.accepted, answer.message

    def _has(self, right: Rule) -> bool:
        """Whether the API server says so; it learns of a change a moment later."""
        resource, _, part = right.resource.partition("/")
        attributes = {
            "verb": right.verb,
            "group": right.api_group,
            "resource": resource,
            "subresource": part,
            "namespace": right.namespace,
            "name": right.name,
        }
        user = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
        spec = {"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        return bool(self.server.create(_REVIEWS, review).body["status"]["allowed"])


def path_of(thing: Object) -> str:
    """Where a ServiceAccount is, or an object of RBAC."""
    namespace = thing["metadata"].get("namespace")
    place = f"/namespaces/{namespace}" if namespace else ""
    root = "/api/v1" if thing["apiVersion"] == "v1" else RBAC
    return f"{root}{place}/{thing['kind'].lower()}s/{thing['metadata']['name']}"


def _rights_of(role: Object) -> list[Rule]:
    return [
        Rule(group, resource, verb, role["metadata"].get("namespace", ""), name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    ]


def _alone(right: Rule) -> Object:
    """The rule of RBAC that gives this right and no other."""
    rule = {"apiGroups": [right.api_group], "resources": [right.resource], "verbs": [right.verb]}
    return rule | ({"resourceNames": [right.name]} if right.name else {})


@contextmanager
def working(connection: Connection) -> Iterator[None]:
    """A replica in a thread, as long as the `with` lasts: it starts at once, where a process takes seconds."""
    settings = Settings(
        namespace=NAMESPACE,
        lease_seconds=4,
        renew_seconds=1.5,
        resync_seconds=1,
        metrics_host="127.0.0.1",
        metrics_port=0,
        health_port=0,
    )
    application, stop = Application(settings, connection), asyncio.Event()

    async def run() -> None:
        await application.run(stop)
        # kopf, ended while it looks for its kind, leaves tasks that may miss being cancelled once, and connections for
        # whose end TLS needs a few turns of the loop.
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)
        await asyncio.sleep(0.1)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=lambda: runner.run(run()), name="operator", daemon=True)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive(), "the operator does not end"


class ShortScenario:
    """A job for which the operator does within a second all that it ever does for one; KubeRay has no part in it.

    Its RayJob is there already and over, as if the answer to the leader before had been lost. No watch tells of it, for
    it lacks the label that they select, and KubeRay leaves it, and its RayCluster, to the manager that it names.
    """

    def __init__(self, job: SimulatedJob) -> None:
        self._job, self._reported = job.apply(suspend=True, ttlSecondsAfterFinished=0), False
        uid = job.stored["metadata"]["uid"]
        self._name, self._uid = names.ray_job(job.name, uid, 1), uid
        self._labels = names.labels_of(job.name, uid) | {names.ATTEMPT: "1"}
        unseen = {key: value for key, value in self._labels.items() if key != MANAGED_BY}
        self._create("RayJob", unseen, {})
        over = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "rayClusterName": self._name}
        path = f"{RAY}/namespaces/{job.namespace}/rayjobs/{self._name}/status"
        assert job.plane.merge(path, {"status": over}).accepted
        job.change(suspend=False)

    def _create(self, kind: str, labels: Object, spec: Object) -> None:
        job = {"apiVersion": "kubetune.dev/v1alpha1", "kind": "FineTuneJob", "name": self._job.name, "uid": self._uid}
        body = {
            "apiVersion": "ray.io/v1",
            "kind": kind,
            "metadata": {"name": self._name, "labels": labels, "ownerReferences": [{**job, "controller": True}]},
            "spec": {"managedBy": "kueue.x-k8s.io/multikueue", **spec},
        }
        answer = self._job.plane.create(f"{RAY}/namespaces/{self._job.namespace}/{kind.lower()}s", body)
        assert answer.accepted, answer.message

    def go_on(self) -> bool:
        """The trainer succeeds once its RayJob is known. Whether the job is over, and nothing that it made is left."""
        status = self._job.status
        if not self._reported and any("rayJobUid" in attempt for attempt in status.get("attempts", [])):
            template = {"spec": {"containers": [{"name": "head", "image": "image"}]}}
            self._create("RayCluster", self._labels, {"headGroupSpec": {"rayStartParams": {}, "template": template}})
            self._job.say_succeeded()
            self._reported = True
        return status.get("phase") == "Succeeded" and not any(self._left(path) for path in _OF_A_JOB)

    def _left(self, path: str) -> list[Object]:
        label = f"{names.JOB}={self._job.name}"
        return list(self._job.plane.get(path % self._job.namespace, labelSelector=label).body["items"])
