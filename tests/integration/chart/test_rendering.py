"""What Helm makes of the chart."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubetune_api.crd import FOLDER
from kubetune_api.network import METADATA_SERVERS
from kubetune_operator.jobs import names
from kubetune_operator.machinery import leader
from kubetune_operator.settings import Settings, settings_from
from servers.build import SERVERS
from support.chart import CHART, FULL_VALUES, NAMESPACE, RELEASE, chart_rules, helm, only, rendered, template
from support.observed_jobs import walk

KEEP = "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n"
PROFILE_API = ("--api-versions", "kubetune.dev/v1alpha1/FineTuneProfile")


@pytest.mark.parametrize("values", [{}, FULL_VALUES], ids=["the defaults", "everything"])
def test_helm_finds_no_error_with_the_chart(values: dict[str, Any]) -> None:
    done = helm("lint", "--strict", CHART, "--kube-version", SERVERS["kube-apiserver"].version, values=values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_by_default_nothing_is_made_that_another_operator_must_know() -> None:
    groups = {thing["apiVersion"].split("/")[0] for thing in rendered()}
    kubernetes = {"v1", "apps", "policy", "networking.k8s.io", "rbac.authorization.k8s.io", "apiextensions.k8s.io"}
    assert groups == kubernetes


def test_everything_has_the_labels_of_the_release() -> None:
    for thing in rendered(FULL_VALUES):
        if thing["kind"] != "CustomResourceDefinition":
            labels = thing["metadata"]["labels"]
            assert labels["app.kubernetes.io/instance"] == "kubetune"
            assert labels["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize(
    ("value", "where"),
    [
        pytest.param({"replicaCount": 3}, "", id="a value that does not exist"),
        pytest.param({"monitoring": {"service": {"enable": True}}}, "/monitoring/service", id="a misspelt one below"),
        pytest.param({"defaultProfile": {"spec": {"pods": 8}}}, "/defaultProfile/spec", id="no field of a profile"),
        pytest.param(
            {"defaultProfile": {"spec": {"worker": {"cpu": "two"}}}},
            "/defaultProfile/spec/worker/cpu",
            id="no quantity",
        ),
        pytest.param({"image": {"digest": "sha256:abc"}}, "/image/digest", id="a digest that is cut short"),
        pytest.param({"replicas": 0}, "/replicas", id="no replica at all"),
        pytest.param(
            {"operator": {"dnsPods": ["k8s-app=kube-dns"]}}, "/operator/dnsPods/0", id="labels without a place"
        ),
        pytest.param(
            {"operator": {"dnsPods": [{"namespace": "kube-system", "labels": {}}]}},
            "/operator/dnsPods/0/labels",
            id="no label, which would be every pod",
        ),
        pytest.param({"operator": {"dnsPorts": [70000]}}, "/operator/dnsPorts/0", id="a port that none is"),
        pytest.param({"operator": {"dnsCidrs": ["10.0.0.10"]}}, "/operator/dnsCidrs/0", id="an address without a mask"),
        pytest.param({"operator": {"logLevel": "loud"}}, "/operator/logLevel", id="a level that does not exist"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(value: dict[str, Any], where: str) -> None:
    done = template(value)
    assert done.returncode != 0
    assert f"at '{where}':" in done.stderr


@pytest.mark.parametrize("renew", [3, 5])
def test_a_leader_must_renew_before_its_word_ends_with_time_for_a_write_that_has_begun(renew: int) -> None:
    done = template({"operator": {"leaseSeconds": 5, "renewSeconds": renew}})
    assert done.returncode != 0
    assert f"operator.renewSeconds is {renew}; give less than operator.leaseSeconds (5) by more than 2" in done.stderr


NO_NAMES: dict[str, Any] = {"dnsPods": [], "dnsCidrs": []}


@pytest.mark.parametrize(
    ("dns", "sentence"),
    [
        pytest.param(NO_NAMES, "operator.dnsPods and operator.dnsCidrs are empty, so that no name is known", id="none"),
        *(
            pytest.param(
                {"dnsCidrs": ["10.0.0.10/32", server], "dnsPorts": [53, 80]},
                f"operator.dnsCidrs has {server}, which also gives the credentials of a machine, on other ports; give"
                " operator.dnsPorts as [53]",
                id=server,
            )
            for server in METADATA_SERVERS
        ),
    ],
)
def test_dns_for_which_the_operator_would_end_at_its_start_is_refused(dns: dict[str, Any], sentence: str) -> None:
    done = template({"operator": dns})
    assert done.returncode != 0
    assert sentence in done.stderr
    with pytest.raises(ValueError, match=r"no name is known|also gives the credentials"):
        Settings(
            dns_pods=() if dns is NO_NAMES else Settings().dns_pods,
            dns_cidrs=tuple(dns["dnsCidrs"]),
            dns_ports=tuple(dns.get("dnsPorts", [53])),
        )


@pytest.mark.parametrize(
    "dns",
    [
        pytest.param({"dnsPods": [], "dnsCidrs": ["10.0.0.10/32"]}, id="addresses alone"),
        pytest.param({"dnsCidrs": [METADATA_SERVERS[0]]}, id="a cloud's own DNS"),
    ],
)
def test_dns_that_the_operator_takes_is_taken(dns: dict[str, Any]) -> None:
    assert template({"operator": dns}).returncode == 0


@pytest.mark.parametrize("sections", [True, False], ids=["values are missing", "sections are missing"])
def test_values_of_an_older_chart_get_what_came_since(tmp_path: Path, sections: bool) -> None:
    """O15: `--reuse-values` takes the older chart's values in place of this one's."""
    chart = Path(shutil.copytree(CHART, tmp_path / "kubetune"))
    values = yaml.safe_load((chart / "values.yaml").read_text("utf-8"))
    older = {name: {} for name, value in values.items() if isinstance(value, dict) and value} if sections else {}
    (chart / "values.yaml").write_text(
        yaml.safe_dump({**older, "image": values["image"], "resources": values["resources"]})
    )
    version = ("--kube-version", SERVERS["kube-apiserver"].version)
    done = helm("template", RELEASE, chart, "--namespace", NAMESPACE, *version)
    assert done.returncode == 0, done.stderr
    assert done.stdout == template().stdout


def test_what_a_user_took_out_of_the_resources_stays_out() -> None:
    values = {"resources": {"limits": {"memory": None}, "requests": {"cpu": None}}}
    container = only(rendered(values), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {"limits": {}, "requests": {"memory": "256Mi"}}


def test_names_of_digits_stay_texts() -> None:
    """O15: without quotes, YAML reads a namespace 456 as a number."""
    values = {
        **FULL_VALUES,
        "fullnameOverride": "789",
        "nameOverride": "12",
        "serviceAccount": {"name": "321"},
        "kuberayNamespace": "1",
        "monitoringNamespace": "2",
        "priorityClassName": "3",
    }
    version = ("--kube-version", SERVERS["kube-apiserver"].version)
    done = helm("template", "123", CHART, "--namespace", "456", *version, values=values)
    assert done.returncode == 0, done.stderr
    named = ("name", "namespace", "serviceAccountName", "priorityClassName", "value", "kubernetes.io/metadata.name")
    for thing in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader):
        if thing and thing["kind"] != "CustomResourceDefinition":
            texts = {path: value for path, value in walk(thing) if path.rpartition(".")[2] in named}
            texts |= thing["metadata"]["labels"] | thing["metadata"].get("annotations", {})
            assert {path: value for path, value in texts.items() if not isinstance(value, str)} == {}, thing["kind"]


def test_the_operator_understands_every_variable_that_it_gets() -> None:
    dns = {
        "dnsPods": [{"namespace": "openshift-dns", "labels": {"dns.operator.openshift.io/daemonset-dns": "default"}}],
        "dnsPorts": [5353],
        "dnsCidrs": ["169.254.20.10/32"],
    }
    values = {"operator": {"resyncSeconds": 60, "logFormat": "text", **dns}, "kuberayNamespace": "ray"}
    container = only(rendered(values), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    given = {name: value for name, value in variables.items() if value is not None}
    settings = settings_from([], given)
    assert (settings.resync_seconds, settings.log_format, settings.kuberay_namespace) == (60, "text", "ray")
    assert [pods.to_dict() for pods in settings.dns_pods] == dns["dnsPods"]
    assert (settings.dns_ports, settings.dns_cidrs) == ((5353,), ("169.254.20.10/32",))
    known = {f"KUBETUNE_{name.upper()}" for name in vars(settings)}
    assert variables.keys() - known == {"HOME"}
    # Not set: two replicas always elect a leader, and the ports are those that Prometheus and the probes ask.
    assert known - variables.keys() == {
        "KUBETUNE_LEADER_ELECTION",
        "KUBETUNE_METRICS_PORT",
        "KUBETUNE_HEALTH_PORT",
        "KUBETUNE_METRICS_HOST",
    }
    assert container["ports"] == [
        {"name": "metrics", "containerPort": settings.metrics_port},
        {"name": "health", "containerPort": settings.health_port},
    ]


def test_prometheus_alone_reaches_the_metrics_and_the_probes_have_a_port_of_their_own() -> None:
    """S2: any pod could ask for the metrics, 200 times at once, and read every tenant's name."""
    objects = rendered({"monitoringNamespace": "prometheus"})
    policy, deployment = only(objects, "NetworkPolicy")["spec"], only(objects, "Deployment")["spec"]
    assert policy["podSelector"] == deployment["selector"]
    (ingress,) = policy["ingress"]
    (peer,) = ingress["from"]
    assert peer == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prometheus"}}}
    assert [port["port"] for port in ingress["ports"]] == ["metrics"]
    container = deployment["template"]["spec"]["containers"][0]
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "liveness", "readiness")} == {
        "health"
    }
    assert not [one for one in rendered({"networkPolicy": {"enabled": False}}) if one["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "kubetune-operator:0.1.0"),
        ({"tag": "1.2.3"}, "kubetune-operator:1.2.3"),
        ({"tag": "1.2.3", "digest": f"sha256:{'b' * 64}"}, f"kubetune-operator@sha256:{'b' * 64}"),
    ],
    ids=["the chart's version", "a tag", "a digest counts before a tag"],
)
def test_the_image_is_named_by(image: dict[str, Any], reference: str) -> None:
    pod = only(rendered({"image": image}), "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == reference


def test_an_empty_repository_leaves_the_trainer_to_the_profiles() -> None:
    pod = only(rendered({"trainer": {"image": {"repository": ""}}}), "Deployment")["spec"]["template"]["spec"]
    assert "KUBETUNE_TRAINER_IMAGE" not in {variable["name"] for variable in pod["containers"][0]["env"]}


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_the_definitions_are_those_of_the_repository(keep: bool) -> None:
    text = template({"crds": {"keep": keep}}).stdout
    for path in FOLDER.glob("*.yaml"):
        wanted = path.read_text("utf-8").strip()
        assert (wanted.replace("metadata:\n", KEEP, 1) if keep else wanted) in text


def test_a_release_without_definitions_brings_none() -> None:
    assert not [thing for thing in rendered({"crds": {"install": False}}) if "CustomResource" in thing["kind"]]


def test_a_cluster_without_the_kind_gets_the_profile_after_the_release() -> None:
    annotations = only(rendered(FULL_VALUES), "FineTuneProfile")["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "post-install,post-upgrade"
    # By these, a later upgrade takes it for the release's own.
    assert annotations["meta.helm.sh/release-name"] == "kubetune"
    assert annotations["meta.helm.sh/release-namespace"] == NAMESPACE


def test_a_cluster_with_the_kind_gets_the_profile_with_the_release() -> None:
    profile = only(rendered(FULL_VALUES, *PROFILE_API), "FineTuneProfile")
    assert profile["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert profile["spec"] == FULL_VALUES["defaultProfile"]["spec"]


def test_the_operator_has_no_right_by_wildcard_and_none_on_secrets_or_finalizers() -> None:
    for rule in chart_rules():
        assert "*" not in (rule.api_group, rule.resource, rule.verb)
        assert "secrets" not in rule.resource
        assert "finalizers" not in rule.resource
        assert rule.verb not in ("escalate", "bind", "impersonate", "deletecollection")
        assert (rule.namespace == NAMESPACE) == (rule.resource == "leases")


def test_the_operator_writes_no_kind_that_runs_reveals_or_decides_by_itself() -> None:
    """No pod and nothing in one, no Secret, no token, no node; no ClusterRole, CRD, webhook or other rule for all."""
    assert {rule.resource for rule in chart_rules() if rule.verb not in ("get", "list", "watch")} == {
        "finetunejobs/status",
        "rayjobs",
        "rayclusters",
        "configmaps",
        "serviceaccounts",
        "roles",
        "rolebindings",
        "networkpolicies",
        "events",
        "leases",
    }


def test_of_ray_clusters_the_operator_may_only_delete_one() -> None:
    verbs = {rule.verb for rule in chart_rules() if rule.resource == "rayclusters"}
    assert verbs - {"get", "list", "watch"} == {"delete"}


def test_the_operator_may_change_the_service_accounts_of_its_pods_alone() -> None:
    accounts = [rule for rule in chart_rules() if rule.resource == "serviceaccounts"]
    assert {(rule.verb, rule.name) for rule in accounts if rule.verb not in ("list", "watch")} == {
        (verb, name) for verb in ("create", "patch") for name in (names.HEAD_ACCOUNT, names.WORKER_ACCOUNT)
    }


def test_the_operator_may_take_its_own_lease_alone() -> None:
    assert {(rule.verb, rule.name) for rule in chart_rules() if rule.resource == "leases"} == {
        ("create", ""),
        ("get", leader.NAME),
        ("update", leader.NAME),
    }


def test_the_operator_writes_nothing_of_a_job_but_its_status() -> None:
    writes = {(rule.resource, rule.verb) for rule in chart_rules() if rule.api_group == "kubetune.dev"}
    assert {pair for pair in writes if pair[1] not in ("get", "list", "watch")} == {("finetunejobs/status", "patch")}


def test_another_name_of_the_release_names_every_object() -> None:
    objects = rendered({**FULL_VALUES, "fullnameOverride": "trainers", "serviceAccount": {"name": ""}})
    ours = [thing for thing in objects if thing["kind"] not in ("CustomResourceDefinition", "FineTuneProfile")]
    parts = r"-(view|edit|admin|profiles|metrics|runs|dashboard)$"
    assert {re.sub(parts, "", thing["metadata"]["name"]) for thing in ours} == {"trainers"}


def monitors(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {thing["metadata"]["name"]: thing for thing in objects if thing["kind"] == "PodMonitor"}


def test_the_monitor_asks_every_replica_and_keeps_the_namespace_of_a_job() -> None:
    objects = rendered(FULL_VALUES)
    monitor, pod = monitors(objects)["kubetune"], only(objects, "Deployment")["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "metrics", "interval": "30s", "honorLabels": True}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_monitor_of_the_runs_takes_the_namespace_from_the_pod_alone() -> None:
    monitor = monitors(rendered(FULL_VALUES))["kubetune-runs"]
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    assert monitor["spec"]["selector"] == {"matchExpressions": [{"key": names.JOB, "operator": "Exists"}]}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    rays = [{"sourceLabels": ["__name__"], "regex": "ray_.*", "action": "keep"}]
    assert endpoint == {"port": "metrics", "interval": "30s", "honorLabels": False, "metricRelabelings": rays}
    assert monitor["spec"]["sampleLimit"] == 20000
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_alerts_and_dashboard_are_the_files_of_the_chart() -> None:
    objects = rendered(FULL_VALUES)
    alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text("utf-8"))
    assert only(objects, "PrometheusRule")["spec"] == alerts
    board = only(objects, "ConfigMap")
    assert board["data"]["kubetune.json"].strip() == (CHART / "files" / "dashboard.json").read_text("utf-8").strip()
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
