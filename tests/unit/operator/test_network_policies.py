"""No NetworkPolicy lets a pod to a cloud's metadata server, or to a foreign server for names (S6)."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubetune_api.network import METADATA_SERVERS
from kubetune_api.profile import FineTuneProfile
from kubetune_operator.jobs.objects.network import network_policies
from kubetune_operator.settings import DnsPods, Settings, settings_from
from support.job_cases import PROFILE, PROFILES_RIGHT, edited

Object = dict[str, Any]
ROOT = Path(__file__).parents[3]
NAMED = ("169.254.169.254/32", "fd00:ec2::254/128")
WIDE = {
    f"the range {cidr}": edited({"spec.egress": [{"cidr": cidr, "ports": [1, 443, 65535]}]}, PROFILE)
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
    return "ports" not in rule or any(each["port"] == port for each in rule["ports"])


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
def test_every_network_plugin_understands_the_ports_of_every_rule(name: str) -> None:
    """Cilium before 1.16 and others know no `endPort`, and open the first port of a range alone."""
    assert all(port.keys() == {"protocol", "port"} for rule in rendered(ALL[name]) for port in rule.get("ports", ()))


@pytest.mark.parametrize("name", ALL)
def test_names_are_asked_of_the_clusters_own_servers_alone(name: str) -> None:
    dns, *others = [rule for rule in rendered(ALL[name]) if has_port(rule, 53)]
    assert dns["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": app}},
        }
        for app in ("kube-dns", "node-local-dns")
    ]
    # Pods of the profile itself may meet on every port.
    assert all([*peer] == ["podSelector"] for rule in others for peer in rule["to"])


def test_the_operator_is_told_where_the_clusters_names_are_known() -> None:
    settings = Settings(
        dns_pods=(
            DnsPods(namespace="dns", labels={"app": "core", "tier": "node"}),
            DnsPods(namespace="openshift-dns", labels={"dns.operator.openshift.io/daemonset-dns": "default"}),
        ),
        dns_ports=(53, 5353),
        dns_cidrs=("169.254.20.10/32", "fd00::a/128"),
    )
    dns = rendered(PROFILE, settings)[0]
    core, openshift, *blocks = dns["to"]
    assert core["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "dns"}
    assert core["podSelector"]["matchLabels"] == {"app": "core", "tier": "node"}
    assert openshift["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "openshift-dns"}
    assert openshift["podSelector"]["matchLabels"] == {"dns.operator.openshift.io/daemonset-dns": "default"}
    assert [peer["ipBlock"]["cidr"] for peer in blocks] == ["169.254.20.10/32", "fd00::a/128"]
    assert [(port["protocol"], port["port"]) for port in dns["ports"]] == [
        ("UDP", 53),
        ("TCP", 53),
        ("UDP", 5353),
        ("TCP", 5353),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"DNS_CIDRS": '["10.0.0.10"]'}, "DNS_CIDRS has '10.0.0.10'; give", id="an address without a mask"),
        pytest.param({"DNS_CIDRS": "10.0.0.10/32"}, 'such as ["10.0.0.10/32"]', id="no list"),
        pytest.param({"API_SERVER_CIDRS": '["10.0.0.1/8"]'}, "API_SERVER_CIDRS has", id="an address for a range"),
        pytest.param({"DNS_PODS": "k8s-app=kube-dns"}, 'such as [{"namespace"', id="labels alone"),
        pytest.param({"DNS_PODS": '[{"namespace": "a", "labels": {}}]'}, "give a JSON list", id="no label: every pod"),
        pytest.param({"DNS_PODS": "[]"}, "are empty, so that no name is known", id="no server at all"),
        pytest.param({"DNS_PORTS": "[]"}, "DNS_PORTS is []; give", id="no port: every port"),
        pytest.param({"DNS_PORTS": "[53, 70000]"}, "such as [53]", id="a port that none is"),
        pytest.param(
            {"DNS_CIDRS": '["169.254.169.254/32"]', "DNS_PORTS": "[53, 80]"},
            "give KUBETUNE_DNS_PORTS as [53]",
            id="credentials by way of the DNS",
        ),
    ],
)
def test_a_setting_that_makes_no_rule_is_refused(
    given: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        settings_from([], {f"KUBETUNE_{name}": text for name, text in given.items()})
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_metadata_server_that_answers_for_names_is_asked_for_nothing_else() -> None:
    """Cloud DNS on GKE."""
    rules = rendered(PROFILE, Settings(dns_cidrs=("169.254.169.254/32",)))
    (opened,) = (rule for rule in rules if opens(rule, "169.254.169.254/32"))
    assert {port["port"] for port in opened["ports"]} == {53}


def test_what_the_operator_is_told_opens_no_metadata_server() -> None:
    wide = Settings(api_server_cidrs=("0.0.0.0/0", "::/0"), dns_cidrs=("169.254.0.0/16",), dns_ports=(53, 80))
    for server in METADATA_SERVERS:
        assert not [rule for rule in rendered(PROFILE, wide) if opens(rule, server)], server
