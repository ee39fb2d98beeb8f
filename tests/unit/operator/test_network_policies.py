"""No NetworkPolicy lets a pod to a cloud's metadata server, or to a foreign server for names (S6)."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubetune_api.network import METADATA_SERVERS
from kubetune_api.profile import FineTuneProfile
from kubetune_operator.jobs.objects.network import network_policies
from kubetune_operator.settings import Settings
from support.job_cases import PROFILE, PROFILES_RIGHT, edited

Object = dict[str, Any]
ROOT = Path(__file__).parents[3]
NAMED = ("169.254.169.254/32", "fd00:ec2::254/128")
WIDE = {
    f"the range {cidr}": edited({"spec.egress": [{"cidr": cidr}]}, PROFILE)
    for cidr in (
        "0.0.0.0/0",
        "::/0",
        "128.0.0.0/1",
        "169.254.0.0/16",
        "169.254.169.252/30",
        "fd00::/8",
        "fd00:ec2::/64",
        "100.64.0.0/10",
    )
}


def of_the_examples() -> dict[str, Object]:
    found = {}
    for file in sorted((ROOT / "examples").glob("*.yaml")):
        for body in yaml.safe_load_all(file.read_text("utf-8")):
            if body["kind"] == "FineTuneProfile":
                found[f"{file.name}: {body['metadata']['name']}"] = body
    return found


ALL = {case.what: case.manifest for case in PROFILES_RIGHT} | of_the_examples() | WIDE


def rendered(profile: Object, settings: Settings | None = None) -> list[Object]:
    """The egress rules of all policies of a profile."""
    read = FineTuneProfile.model_validate({**profile, "spec": profile.get("spec", {})})
    policies = network_policies("team-a", read, settings or Settings(identity="a"))
    return [rule for policy in policies for rule in policy["spec"]["egress"]]


def opens(rule: Object, server: str) -> bool:
    """Whether a rule lets pods to an address."""
    address = ip_network(server)
    for block in (peer["ipBlock"] for peer in rule.get("to", ()) if "ipBlock" in peer):
        ranges = [ip_network(cidr) for cidr in (block["cidr"], *block.get("except", ()))]
        inside, *closed = (each.version == address.version and address.subnet_of(each) for each in ranges)  # type: ignore[arg-type]
        assert all(each.subnet_of(ranges[0]) and each != ranges[0] for each in ranges[1:]), "as Kubernetes asks"  # type: ignore[arg-type]
        if inside and not any(closed):
            return True
    return "to" not in rule


def has_port(rule: Object, port: int) -> bool:
    return "ports" not in rule or any(
        each["port"] <= port <= each.get("endPort", each["port"]) for each in rule["ports"]
    )


def test_there_are_profiles_of_tests_and_examples() -> None:
    assert len(of_the_examples()) >= 1
    assert len(ALL) > 30


@pytest.mark.parametrize("name", ALL)
def test_no_policy_opens_a_metadata_server_unless_workload_identity_names_it_alone(name: str) -> None:
    spec = ALL[name].get("spec", {})
    named = {each["cidr"] for each in spec.get("egress") or () if "serviceAccountName" in spec}
    for server in {*METADATA_SERVERS, *NAMED} - named:
        assert not [rule for rule in rendered(ALL[name]) if opens(rule, server)], server


@pytest.mark.parametrize("name", ALL)
def test_names_are_asked_of_the_clusters_own_servers_alone(name: str) -> None:
    dns, *others = [rule for rule in rendered(ALL[name]) if has_port(rule, 53)]
    assert dns["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ]
    # Pods of the profile itself may meet on every port.
    assert all([*peer] == ["podSelector"] for rule in others for peer in rule["to"])


def test_the_operator_is_told_where_the_clusters_names_are_known() -> None:
    settings = Settings(dns_namespace="dns", dns_pods="app=core, tier=node", dns_cidrs="169.254.20.10/32, fd00::a/128")
    dns = rendered(PROFILE, settings)[0]
    pods, *blocks = dns["to"]
    assert pods["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "dns"}
    assert pods["podSelector"]["matchLabels"] == {"app": "core", "tier": "node"}
    assert [peer["ipBlock"]["cidr"] for peer in blocks] == ["169.254.20.10/32", "fd00::a/128"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"dns_cidrs": "10.0.0.10"}, "KUBETUNE_DNS_CIDRS has '10.0.0.10'", id="an address without a mask"),
        pytest.param({"api_server_cidrs": "10.0.0.1/8"}, "KUBETUNE_API_SERVER_CIDRS", id="an address for a range"),
        pytest.param({"dns_pods": "kube-dns"}, "give labels, such as k8s-app=kube-dns", id="a name for a label"),
        pytest.param({"dns_pods": " , "}, "give labels", id="no label, which would be every pod"),
    ],
)
def test_a_setting_that_is_no_address_is_refused(given: Object, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("[", "\\[")):
        Settings(**given)


def test_what_the_operator_is_told_opens_no_metadata_server() -> None:
    wide = Settings(api_server_cidrs="0.0.0.0/0,::/0", dns_cidrs="169.254.0.0/16")
    for server in METADATA_SERVERS:
        assert not [rule for rule in rendered(PROFILE, wide) if opens(rule, server)], server
