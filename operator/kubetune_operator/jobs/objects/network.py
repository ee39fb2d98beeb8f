"""Who may talk to the pods of a profile in a namespace, and to whom they may.

A NetworkPolicy names addresses, not hosts, so where object storage is comes from the profile. The pods of a namespace's
jobs may reach each other; Ray's token keeps its clusters apart. No rule has an `endPort`: network plugins that do not
know it open the first port of the range alone, without a word.
"""

from collections.abc import Iterable
from ipaddress import ip_network

from kubetune_api.network import METADATA_SERVERS, Egress, within
from kubetune_api.profile import FineTuneProfile
from kubetune_operator.jobs import names
from kubetune_operator.jobs.objects.meta import shared
from kubetune_operator.machinery.kinds import NETWORK_POLICY, Object
from kubetune_operator.machinery.labels import MANAGED
from kubetune_operator.settings import Settings

DASHBOARD_PORT, METRICS_PORT = 8265, 8080
_ANYWHERE = ("0.0.0.0/0", "::/0")
_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")
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
    egress = [_dns(settings), {"to": [each_other]}, *_outside(profile.spec.egress)]
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


def _dns(settings: Settings) -> Object:
    """The cluster's own alone: any other is a way out for data, in the names that it is asked for."""
    pods = [{**_namespace(each.namespace), "podSelector": {"matchLabels": each.labels}} for each in settings.dns_pods]
    ports = [{"protocol": protocol, "port": port} for port in settings.dns_ports for protocol in ("UDP", "TCP")]
    return {"to": [*pods, *(_block(cidr) for cidr in settings.dns_cidrs)], "ports": ports}


def _outside(egress: list[Egress] | None) -> list[Object]:
    if egress is None:
        return [_anywhere([443])]
    return [{"to": [_block(rule.cidr, _LINK_LOCAL)], "ports": _tcp(rule.ports)} for rule in egress]


def _api_server(settings: Settings) -> Object:
    if not settings.api_server_cidrs:
        return _anywhere(_API_SERVER_PORTS)
    return {"to": [_block(cidr) for cidr in settings.api_server_cidrs], "ports": _tcp(_API_SERVER_PORTS)}


def _anywhere(ports: list[int]) -> Object:
    return {"to": [_block(cidr, _LINK_LOCAL) for cidr in _ANYWHERE], "ports": _tcp(ports)}


def _block(cidr: str, but_for: Iterable[str] = ()) -> Object:
    """A range without the clouds' metadata servers, which give their credentials to whoever reaches them."""
    closed = within(cidr, (*but_for, *METADATA_SERVERS))
    # In the form that Kubernetes writes itself: it warns of others, and would give back another.
    return {"ipBlock": {"cidr": str(ip_network(cidr)), **({"except": closed} if closed else {})}}


def _tcp(ports: list[int]) -> list[Object]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
