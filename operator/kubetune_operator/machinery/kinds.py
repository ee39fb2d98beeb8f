"""The kinds of objects that the operator reads and writes, and where the API server has them."""

from dataclasses import dataclass
from typing import Any

from kubetune_api.base import API_VERSION
from kubetune_api.kinds import JOB, PROFILE, KindRow

Object = dict[str, Any]
"""An object as the API server gives it."""


@dataclass(frozen=True)
class Kind:
    """A kind of object."""

    api_version: str
    """`v1`, `ray.io/v1`."""
    name: str
    """`RayJob`."""
    plural: str
    """`rayjobs`."""
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, part: str | None = None) -> str:
        """The path of one object, of its part (`status`), or of all in a namespace or in the cluster."""
        root = "/api" if "/" not in self.api_version else "/apis"
        steps = [root, self.api_version]
        if namespace and self.namespaced:
            steps += ["namespaces", namespace]
        return "/".join([*steps, self.plural, *([name] if name else []), *([part] if part else [])])


def _ours(kind: KindRow) -> Kind:
    return Kind(API_VERSION, kind.name, kind.plural, namespaced=kind.scope == "Namespaced")


FINE_TUNE_JOB, FINE_TUNE_PROFILE = _ours(JOB), _ours(PROFILE)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
RAY_JOB = Kind("ray.io/v1", "RayJob", "rayjobs")
RAY_CLUSTER = Kind("ray.io/v1", "RayCluster", "rayclusters")

KINDS = {
    kind.name: kind
    for kind in (
        FINE_TUNE_JOB,
        FINE_TUNE_PROFILE,
        NAMESPACE,
        CONFIG_MAP,
        SERVICE_ACCOUNT,
        POD,
        EVENT,
        LEASE,
        ROLE,
        ROLE_BINDING,
        NETWORK_POLICY,
        RAY_JOB,
        RAY_CLUSTER,
    )
}


def kind_of(thing: Object) -> Kind:
    """The kind of an object that names it."""
    return KINDS[thing["kind"]]
