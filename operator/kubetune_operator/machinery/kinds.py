"""Kinds of objects, and where the API server has them: here those of Kubernetes itself."""

from dataclasses import dataclass
from typing import Any

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


NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
