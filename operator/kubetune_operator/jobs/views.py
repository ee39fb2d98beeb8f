"""What the operator needs to know of the objects of others: parsed once, when the API server tells of them.

The rest of an object is not kept: a cluster has many pods. Webhooks put containers of others into them, before ours and
after: each is told to be ours or not by its name.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from kubetune_api.object_names import SUBDOMAIN
from kubetune_operator.jobs import names
from kubetune_operator.machinery.kinds import Object
from kubetune_operator.machinery.labels import controlled_by

_TERMINAL = ("Complete", "Failed", "ValidationFailed")
_WAITS_FOR_THE_HEAD = "wait-gcs-ready"
"""The init container that KubeRay gives a worker, of the worker's own image."""


_ACCOUNT = re.compile(SUBDOMAIN)
_LONGEST_DIGEST, _LONGEST_NAME, _MOST_SECRETS = 64, 253, 32
"""What is kept of what anybody may write into an object with our labels: more than ours have."""


@dataclass(frozen=True)
class Waiting:
    """A container that has not started."""

    container: str
    reason: str
    message: str
    ours: bool
    """Whether kubetune or KubeRay put it into the pod."""


@dataclass(frozen=True)
class Ended:
    """A container that has ended."""

    container: str
    reason: str
    exit_code: int
    message: str
    ours: bool
    """Whether kubetune or KubeRay put it into the pod."""


@dataclass(frozen=True)
class PodView:
    """A pod of a job."""

    name: str
    attempt: int
    role: str
    """`head`, `worker` or `submitter`."""
    workers: int
    """The ranks in it."""
    node: str
    """The node that it runs on; empty as long as it has none."""
    phase: str
    deleting: bool
    ready: bool
    unscheduled: str | None
    """Why no node takes it, as the scheduler says it."""
    prepared: bool | None
    """Whether its volumes and its network are there, so that its images come next; None where the cluster is too old
    to say so."""
    secrets: tuple[str, ...]
    """The Secrets that its volumes need."""
    signs: bool
    """Whether one of them is the profile's, with the key that signs."""
    waiting: tuple[Waiting, ...]
    ended: tuple[Ended, ...]
    """Containers that ended, restarted ones included."""
    unready: tuple[str, ...]
    """Containers of others that run and are not ready, so that the pod is not, either."""
    awaits_head: bool
    """Whether it is a worker that runs nothing but KubeRay's wait for the head."""
    disruption: tuple[str, str] | None
    """Why the cluster took it away: reason and message of the condition DisruptionTarget."""
    reason: str
    """`Evicted`, `NodeLost`, or nothing."""
    message: str

    @property
    def lives(self) -> bool:
        """Whether it runs, or may still start."""
        return not self.deleting and self.phase in ("Pending", "Running")

    @property
    def failed(self) -> bool:
        """Whether it has ended, and not well."""
        return self.phase == "Failed"


@dataclass(frozen=True)
class RayJobView:
    """A RayJob."""

    name: str
    uid: str
    attempt: int
    cluster: str
    """The name of its RayCluster."""
    controlled: bool
    """Whether the job of its label is its controller, so that no other made it under the same name."""
    profile_digest: str
    """What its profile said when it was made."""
    head_account: str
    """The ServiceAccount that it gives its head; empty where that is no name of one."""
    deleting: bool
    suspended: bool
    """What `spec.suspend` says: Kueue holds it back."""
    deployment: str
    """`status.jobDeploymentStatus`: where KubeRay is with it."""
    job: str
    """`status.jobStatus`: what Ray says of the driver."""
    reason: str
    message: str
    hidden: bool = False
    """Whether it was found by its name alone: somebody changed the labels by which it is watched."""

    @property
    def terminal(self) -> bool:
        """Whether KubeRay is done with it."""
        return self.deployment in _TERMINAL


@dataclass(frozen=True)
class RayClusterView:
    """A RayCluster."""

    name: str
    uid: str
    attempt: int
    head: str
    """The name of its head, where there is one."""
    provisioned: bool
    """Whether all of its pods were ready once: from then on KubeRay makes no second head."""
    deleting: bool
    refusal: str
    """Why a pod of it cannot be made, in the API server's words."""


def pod_view(pod: Object) -> PodView:
    """A pod with the labels that the operator gave it."""
    labels, status = pod["metadata"].get("labels", {}), pod.get("status", {})
    conditions = _conditions(pod)
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    scheduled, disrupted = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
    prepared = conditions.get("PodReadyToStartContainers", {}).get("status")
    ours = (labels.get(names.ROLE, ""), _WAITS_FOR_THE_HEAD)
    return PodView(
        name=pod["metadata"]["name"],
        attempt=_number(labels.get(names.ATTEMPT)),
        role=labels.get(names.ROLE, ""),
        workers=_number(labels.get(names.WORKERS)),
        node=pod.get("spec", {}).get("nodeName") or "",
        phase=status.get("phase", "Pending"),
        deleting="deletionTimestamp" in pod["metadata"],
        ready=conditions.get("Ready", {}).get("status") == "True",
        unscheduled=scheduled.get("message", "") if scheduled.get("status") == "False" else None,
        prepared=None if prepared is None else prepared == "True",
        secrets=tuple(_secrets_of(pod)),
        signs=any(volume["name"] == names.SIGNING_VOLUME for volume in pod.get("spec", {}).get("volumes") or []),
        waiting=tuple(_waiting(container, ours) for container in containers if "waiting" in container.get("state", {})),
        ended=tuple(ended for container in containers for ended in _ends(container, ours)),
        unready=tuple(
            container["name"]
            for container in containers
            if container["name"] not in ours and "running" in container.get("state", {}) and not container.get("ready")
        ),
        awaits_head=any(
            container["name"] == _WAITS_FOR_THE_HEAD and "running" in container.get("state", {})
            for container in containers
        ),
        disruption=(disrupted.get("reason", ""), disrupted.get("message", ""))
        if disrupted.get("status") == "True"
        else None,
        reason=status.get("reason", ""),
        message=status.get("message", ""),
    )


def ray_job_view(ray_job: Object) -> RayJobView:
    """A RayJob of ours."""
    metadata, status = ray_job["metadata"], ray_job.get("status", {})
    return RayJobView(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=_number(metadata.get("labels", {}).get(names.ATTEMPT)),
        cluster=status.get("rayClusterName", ""),
        controlled=controlled_by(ray_job, metadata.get("labels", {}).get(names.JOB_UID, "")),
        profile_digest=metadata.get("annotations", {}).get(names.PROFILE_DIGEST, "")[:_LONGEST_DIGEST],
        head_account=_head_account(ray_job),
        deleting="deletionTimestamp" in metadata,
        suspended=bool(ray_job.get("spec", {}).get("suspend")),
        deployment=status.get("jobDeploymentStatus", ""),
        job=status.get("jobStatus", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
    )


def ray_cluster_view(cluster: Object) -> RayClusterView:
    """A RayCluster that KubeRay made for a RayJob of ours; it has that one's labels."""
    metadata, conditions = cluster["metadata"], _conditions(cluster)
    failure = conditions.get("ReplicaFailure", {})
    return RayClusterView(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=_number(metadata.get("labels", {}).get(names.ATTEMPT)),
        head=cluster.get("status", {}).get("head", {}).get("podName", ""),
        deleting="deletionTimestamp" in metadata,
        provisioned=conditions.get("RayClusterProvisioned", {}).get("status") == "True",
        # KubeRay puts a word of its own into the first line.
        refusal=failure.get("message", "").partition("\n")[2] if failure.get("status") == "True" else "",
    )


def namespace_labels(namespace: Object) -> dict[str, str]:
    """The labels of a namespace."""
    return dict(namespace["metadata"].get("labels", {}))


def _head_account(ray_job: Object) -> str:
    place = ray_job.get("spec") or {}
    for step in ("rayClusterSpec", "headGroupSpec", "template", "spec"):
        place = place.get(step) or {}
    account = str(place.get("serviceAccountName") or "")
    # No RoleBinding takes any other name, and with it nothing of the same plan would be done.
    return account if len(account) <= _LONGEST_NAME and _ACCOUNT.fullmatch(account) else ""


def _secrets_of(pod: Object) -> list[str]:
    volumes = pod.get("spec", {}).get("volumes") or []
    return [volume["secret"]["secretName"] for volume in volumes if "secret" in volume][:_MOST_SECRETS]


def _conditions(obj: Object) -> dict[str, Object]:
    return {condition["type"]: condition for condition in obj.get("status", {}).get("conditions") or []}


def _waiting(container: Object, ours: Collection[str]) -> Waiting:
    waiting, name = container["state"]["waiting"], container["name"]
    return Waiting(name, waiting.get("reason", ""), waiting.get("message", ""), name in ours)


def _ends(container: Object, ours: Collection[str]) -> list[Ended]:
    states, name = (container.get("state", {}), container.get("lastState", {})), container["name"]
    ends = [state["terminated"] for state in states if "terminated" in state]
    return [
        Ended(name, end.get("reason", ""), end.get("exitCode", 0), end.get("message", ""), name in ours) for end in ends
    ]


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
