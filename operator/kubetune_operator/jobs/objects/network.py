"""Who may talk to the pods of a profile in a namespace, and to whom they may.

A NetworkPolicy names addresses, not hosts, so where object storage is comes from the profile. The pods of a namespace's
jobs may reach each other; Ray's token keeps its clusters apart.
"""

from kubetune_api.profile import Egress, FineTuneProfile
from kubetune_operator.jobs import names
from kubetune_operator.jobs.objects.meta import shared
from kubetune_operator.machinery.kinds import NETWORK_POLICY, Object
from kubetune_operator.machinery.labels import MANAGED
from kubetune_operator.settings import Settings

DASHBOARD_PORT, METRICS_PORT = 8265, 8080
_LINK_LOCAL = {"0.0.0.0/0": "169.254.0.0/16", "::/0": "fe80::/10"}
_API_SERVER_PORTS = [443, 6443]


def network_policies(namespace: str, profile: FineTuneProfile, settings: Settings) -> list[Object]:
    """Nothing in or out but what a run needs; the API server for the head alone."""
    pods = {**MANAGED, names.PROFILE: profile.metadata.name}
    each_other = {"podSelector": {"matchLabels": pods}}
    ingress = [
        {"from": [each_other]},
        {"from": [_namespace(settings.kuberay_namespace)], "ports": _tcp([DASHBOARD_PORT])},
        {"from": [_namespace(settings.monitoring_namespace)], "ports": _tcp([METRICS_PORT])},
    ]
    egress = [_dns(), {"to": [each_other]}, *_outside(profile.spec.egress)]
    return [
        _policy(namespace, profile, "pods", pods, ingress=ingress, egress=egress),
        _policy(namespace, profile, "head", {**pods, names.ROLE: "head"}, egress=[_api_server(settings)]),
    ]


def _policy(
    namespace: str,
    profile: FineTuneProfile,
    what: str,
    selected: dict[str, str],
    *,
    ingress: list[Object] | None = None,
    egress: list[Object],
) -> Object:
    rules: Object = {"podSelector": {"matchLabels": selected}, "policyTypes": ["Egress"], "egress": egress}
    if ingress is not None:
        rules |= {"policyTypes": ["Ingress", "Egress"], "ingress": ingress}
    return {**shared(NETWORK_POLICY, namespace, names.network_policy(profile.metadata.name, what)), "spec": rules}


def _dns() -> Object:
    return {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}


def _outside(egress: list[Egress] | None) -> list[Object]:
    if egress is None:
        return [_anywhere([443])]
    return [
        {"to": [{"ipBlock": {"cidr": rule.cidr}}], **({"ports": _tcp(rule.ports)} if rule.ports else {})}
        for rule in egress
    ]


def _api_server(settings: Settings) -> Object:
    cidrs = [cidr.strip() for cidr in settings.api_server_cidrs.split(",") if cidr.strip()]
    if not cidrs:
        return _anywhere(_API_SERVER_PORTS)
    return {"to": [{"ipBlock": {"cidr": cidr}} for cidr in cidrs], "ports": _tcp(_API_SERVER_PORTS)}


def _anywhere(ports: list[int]) -> Object:
    """But for link-local addresses: a cloud's metadata server gives its credentials to whoever reaches it."""
    blocks = [{"ipBlock": {"cidr": all_of, "except": [local]}} for all_of, local in _LINK_LOCAL.items()]
    return {"to": blocks, "ports": _tcp(ports)}


def _tcp(ports: list[int]) -> list[Object]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
