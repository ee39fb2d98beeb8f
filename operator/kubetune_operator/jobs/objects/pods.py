"""The pods of a Ray cluster, within Pod Security's `restricted`, and without a file system of the image to write to."""

from math import ceil

from kubetune_api.network import Endpoint
from kubetune_api.pods import PodResources, Toleration
from kubetune_api.quantity import amount
from kubetune_api.schemes import SCHEMES
from kubetune_api.stopping import STOP_FOLDER, STOP_VARIABLE, stop_hook
from kubetune_api.worker_pod import HOSTNAME, OWN_ANNOTATIONS
from kubetune_operator.jobs import names
from kubetune_operator.jobs.checkpoints import saving_seconds
from kubetune_operator.jobs.objects.access import head_account, worker_account
from kubetune_operator.jobs.objects.fabric import with_fabric
from kubetune_operator.jobs.objects.meta import with_inherited
from kubetune_operator.jobs.objects.network import DASHBOARD_PORT, METRICS_PORT
from kubetune_operator.jobs.objects.run import RUN_FOLDER, SIGNING_FILE, SIGNING_FOLDER, secret_mounts
from kubetune_operator.jobs.objects.shared_memory import shared_memory
from kubetune_operator.jobs.observed import JobView
from kubetune_operator.jobs.resolve import Resolved
from kubetune_operator.machinery.kinds import Object

_SCRATCH = "/tmp"  # noqa: S108 - a volume of the pod's own
_NOT_TO_BE_MOVED = dict(zip(OWN_ANNOTATIONS, ("false", "true"), strict=True))
"""Whoever tidies up nodes to save some would end the run with the pod, be it the head or the submitter."""
_ARCHITECTURE = "kubernetes.io/arch"
_STOP_SECONDS = "RAY_JOB_STOP_WAIT_TIME_S"
_RAY = {
    # A trainer that is told to end has this long to say so, in seconds.
    _STOP_SECONDS: "10",
    # The pod is the workers' own: they need not stand back behind anybody.
    "RAY_worker_niceness": "0",
}
_READINESS = {
    "httpGet": {"path": "/api/healthz", "port": 52365},
    "periodSeconds": 1,
    "timeoutSeconds": 5,
    "failureThreshold": 50,
}
"""KubeRay hands the run to Ray once every pod is ready. Its own probe asks the same, from the tenth second on and every
five; how long a pod may be silent is left as it is."""
_TO_END = 20
"""Seconds that Ray's own processes have to end once a training has saved itself."""


def head_pod(job: JobView, resolved: Resolved, attempt: int) -> Object:
    """The head, where the driver runs: the one pod with a token for the API server."""
    ports = [("gcs", 6379), ("dashboard", DASHBOARD_PORT), ("client", 10001), ("metrics", METRICS_PORT)]
    head = resolved.profile.spec.head
    container = _ray_container(resolved, "head", _resources(head))
    container["ports"] = [{"name": name, "containerPort": port} for name, port in ports]
    volumes = _volumes(job, resolved, attempt)
    if signing := resolved.profile.spec.signing:
        key = {"secretName": signing.secret_name, "items": [{"key": signing.key, "path": SIGNING_FILE}]}
        volumes.append({"name": names.SIGNING_VOLUME, "secret": key})
        container["volumeMounts"].append({"name": names.SIGNING_VOLUME, "mountPath": SIGNING_FOLDER, "readOnly": True})
    spec = _pod_spec(resolved, container, head_account(resolved), volumes, token=True)
    spec |= _time_to_save(job, resolved, container)
    spec |= _placement(resolved, head.node_selector, head.tolerations)
    return _template(job, resolved, attempt, "head", spec)


def worker_pod(job: JobView, resolved: Resolved, attempt: int, workers: int) -> Object:
    """A pod of so many workers, each with its accelerator."""
    profile = resolved.profile.spec
    resources = _resources(profile.worker, workers)
    more = {name: _times(value, workers) for name, value in profile.worker.extra_resources.items()}
    if profile.accelerator is not None:
        more[profile.accelerator.resource_name] = str(workers)
    for bound in resources.values():
        bound.update(more)
    container = _ray_container(resolved, "worker", resources)
    container["ports"] = [{"name": "metrics", "containerPort": METRICS_PORT}]
    spec = _pod_spec(
        resolved, container, worker_account(resolved), _volumes(job, resolved, attempt, workers), token=False
    )
    spec |= _time_to_save(job, resolved, container)
    spec |= _placement(resolved, profile.node_selector, profile.tolerations)
    template = _template(job, resolved, attempt, "worker", spec, {names.WORKERS: str(workers)})
    return with_fabric(template, profile.worker, on_gpu=profile.accelerator is not None)


def submitter_pod(job: JobView, resolved: Resolved, attempt: int) -> Object:
    """The pod that hands the run to Ray and prints what the driver says; KubeRay adds its command."""
    head, own = resolved.profile.spec.head, resolved.profile.spec.submitter
    container = _container(resolved, "submitter", _resources(own))
    container["volumeMounts"] = [{"name": "scratch", "mountPath": _SCRATCH}]
    scratch: list[Object] = [{"name": "scratch", "emptyDir": {}}]
    spec = _pod_spec(resolved, container, worker_account(resolved), scratch, token=False)
    spec |= _placement(
        resolved,
        head.node_selector if own.node_selector is None else own.node_selector,
        head.tolerations if own.tolerations is None else own.tolerations,
    )
    return _template(job, resolved, attempt, "submitter", spec)


def _template(
    job: JobView, resolved: Resolved, attempt: int, role: str, spec: Object, more: dict[str, str] | None = None
) -> Object:
    labels = names.labels_of(job.name, job.uid) | {
        names.ATTEMPT: str(attempt),
        names.PROFILE: resolved.profile.metadata.name,
        names.ROLE: role,
    }
    metadata = {"labels": labels | (more or {}), "annotations": dict(_NOT_TO_BE_MOVED)}
    return with_inherited({"metadata": metadata, "spec": spec}, resolved)


def _volumes(job: JobView, resolved: Resolved, attempt: int, workers: int = 0) -> list[Object]:
    profile = resolved.profile.spec
    return [
        {"name": "run", "configMap": {"name": names.ray_job(job.name, job.uid, attempt)}},
        {"name": "scratch", "emptyDir": {"sizeLimit": profile.scratch_size}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory(profile, workers)}},
        *({"name": mount.volume, "secret": {"secretName": mount.secret}} for mount in secret_mounts(resolved)),
    ]


def _pod_spec(resolved: Resolved, container: Object, account: str, volumes: list[Object], *, token: bool) -> Object:
    pod: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": account,
        "automountServiceAccountToken": token,
        # The addresses of the namespace's services are nothing that a run needs.
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes,
    }
    if pull_secrets := resolved.profile.spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in pull_secrets]
    return pod


def _time_to_save(job: JobView, resolved: Resolved, container: Object) -> Object:
    """What a pod's end waits for where the training in it can save itself: its container gets the hook, the pod the
    time. Whoever ends it with less only loses what the save would have kept."""
    if resolved.job.spec.checkpoints_in_a_cluster is None:
        return {}
    seconds = saving_seconds(job.status)
    container["lifecycle"] = {"preStop": {"exec": {"command": stop_hook(seconds)}}}
    variables = {one["name"]: one["value"] for one in container["env"]}
    variables |= {STOP_VARIABLE: STOP_FOLDER, _STOP_SECONDS: str(seconds)}
    container["env"] = [{"name": name, "value": value} for name, value in variables.items()]
    return {"terminationGracePeriodSeconds": seconds + _TO_END}


def _ray_container(resolved: Resolved, role: str, resources: Object) -> Object:
    mounts = [
        {"name": "run", "mountPath": RUN_FOLDER, "readOnly": True},
        {"name": "scratch", "mountPath": _SCRATCH},
        {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108
        *({"name": mount.volume, "mountPath": mount.folder, "readOnly": True} for mount in secret_mounts(resolved)),
    ]
    return {**_container(resolved, role, resources), "volumeMounts": mounts, "readinessProbe": dict(_READINESS)}


def _container(resolved: Resolved, role: str, resources: Object) -> Object:
    variables = {"HOME": _SCRATCH, "KUBETUNE_CACHE": f"{_SCRATCH}/kubetune-cache", **_RAY}
    # A trainer asks the kernel for its limit, too; not every node enforces it.
    variables["KUBETUNE_CORES"] = str(ceil(amount(resources["limits"]["cpu"])))
    for endpoint in resolved.profile.spec.endpoints:
        variables |= _endpoint(endpoint)
    return {
        "name": role,
        "image": resolved.image,
        "imagePullPolicy": resolved.profile.spec.image_pull_policy,
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "resources": resources,
        # KubeRay gives the container that it puts before a worker the same, with the same mounts.
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _endpoint(endpoint: Endpoint) -> dict[str, str]:
    scheme = SCHEMES[endpoint.scheme]
    variables = {scheme.endpoint_variables[0]: endpoint.url}
    if scheme.allow_http_variable and endpoint.url.startswith("http://"):
        variables[scheme.allow_http_variable] = "true"
    if scheme.region_variable and endpoint.region:
        variables[scheme.region_variable] = endpoint.region
    return variables


def _resources(each: PodResources, times: int = 1) -> Object:
    bounds = {"cpu": _times(each.cpu, times), "memory": _times(each.memory, times)}
    return {"requests": dict(bounds), "limits": dict(bounds)}


def _times(quantity: str, times: int) -> str:
    if times == 1:
        return quantity
    whole = amount(quantity) * times
    return str(int(whole)) if whole == int(whole) else f"{ceil(whole * 1000)}m"


def _placement(resolved: Resolved, node_selector: dict[str, str], tolerations: list[Toleration]) -> Object:
    placement: Object = {}
    architecture = resolved.profile.spec.architecture
    if labels := ({_ARCHITECTURE: architecture} if architecture else {}) | node_selector:
        placement["nodeSelector"] = labels
    if avoided := resolved.avoided_nodes:
        elsewhere = {"key": HOSTNAME, "operator": "NotIn", "values": list(avoided)}
        required = {"nodeSelectorTerms": [{"matchExpressions": [elsewhere]}]}
        placement["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    if tolerations:
        placement["tolerations"] = [toleration.to_dict() for toleration in tolerations]
    return placement
