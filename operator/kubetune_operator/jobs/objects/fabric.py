"""What a worker's pod has beyond cores, memory and accelerators: what several nodes of GPUs need to talk to each other
without the kernel's TCP.
"""

from kubetune_api.worker_pod import Affinity, WorkerPod, growing
from kubetune_operator.jobs import names
from kubetune_operator.machinery.kinds import Object

_STRONGEST = 100
"""The weight of a wish, at most 100."""


def with_fabric(pod: Object, worker: WorkerPod, *, on_gpu: bool) -> Object:
    """The template of a worker's pod, with all that but its resources."""
    spec, (container,) = dict(pod["spec"]), pod["spec"]["containers"]
    given = {each.name: each.value for each in worker.env}
    defaults = growing(given) if on_gpu else {}
    env = [{"name": name, "value": value} for name, value in {**defaults, **given}.items()]
    container = {**container, "env": [*container["env"], *env]}
    if worker.lock_memory_as_root:
        container["securityContext"] = _locking(container["securityContext"])
    spec["containers"] = [container]
    if worker.runtime_class_name:
        spec["runtimeClassName"] = worker.runtime_class_name
    if worker.affinity:
        near = _near(worker.affinity, pod["metadata"]["labels"])
        spec["affinity"] = {**spec.get("affinity", {}), "podAffinity": near}
    metadata = pod["metadata"]
    # The platform's word counts, also where a job may pass on annotations.
    annotations = {**metadata["annotations"], **worker.pod_annotations}
    return {**pod, "metadata": {**metadata, "annotations": annotations}, "spec": spec}


def _locking(context: Object) -> Object:
    """Root, for what a capability adds is lost by everybody else: Kubernetes knows no ambient ones."""
    return {
        **context,
        "runAsNonRoot": False,
        "runAsUser": 0,
        "capabilities": {**context["capabilities"], "add": ["IPC_LOCK"]},
    }


def _near(affinity: Affinity, labels: dict[str, str]) -> Object:
    """Of the pods of one attempt. The first of them finds none, which Kubernetes lets pass."""
    those = {name: labels[name] for name in (names.JOB_UID, names.ATTEMPT, names.ROLE)}
    term = {"labelSelector": {"matchLabels": those}, "topologyKey": affinity.topology_key}
    if affinity.required:
        return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    wish = {"weight": _STRONGEST, "podAffinityTerm": term}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}
