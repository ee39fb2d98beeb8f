"""A release's life in a real cluster: installed, upgraded, used, uninstalled, installed again."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from servers.control_plane import ControlPlane, running_control_plane
from servers.kubelet import Kubelet
from support.chart import CHART, FULL_VALUES, NAMESPACE, Object, helm
from support.job_cases import JOB

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PROFILE = "/apis/kubetune.dev/v1alpha1/finetuneprofiles/default"
JOBS = "/apis/kubetune.dev/v1alpha1/namespaces/team-a/finetunejobs"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/kubetune"
ROLES = "/apis/rbac.authorization.k8s.io/v1"
VALUES = {
    **FULL_VALUES,
    # Kinds of Prometheus Operator, which is not in this cluster.
    "monitoring": {"service": {"enabled": True}, "dashboard": {"enabled": True}},
}


def run_helm(cluster: ControlPlane, *arguments: object) -> str:
    """What Helm says, which succeeds."""
    values = VALUES if arguments[0] in ("install", "upgrade") else None
    done = helm(*arguments, "--namespace", NAMESPACE, values=values, kubeconfig=cluster.admin_kubeconfig)
    assert done.returncode == 0, done.stderr
    return done.stdout


def column_names(cluster: ControlPlane) -> list[str]:
    """The columns that `kubectl get finetunejobs` has in the cluster."""
    found = cluster.get(f"{DEFINITIONS}/finetunejobs.kubetune.dev").body
    return [column["name"] for column in found["spec"]["versions"][0]["additionalPrinterColumns"]]


def bind(cluster: ControlPlane, role: str, user: str) -> None:
    """Gives the user a standard role of Kubernetes in team-a, once it holds what the chart adds to it."""
    cluster.wait_for(f"{ROLES}/clusterroles/{role}", lambda found: "kubetune.dev" in json.dumps(found["rules"]))
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    answer = cluster.apply(f"{ROLES}/namespaces/team-a/rolebindings/{user}", binding)
    assert answer.accepted, answer.message


def job(name: str) -> Object:
    return {**JOB, "metadata": {"name": name, "namespace": "team-a"}}


@pytest.fixture(scope="module")
def old_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as an older version might have been: a column of a definition is not there yet."""
    chart = Path(shutil.copytree(CHART, tmp_path_factory.mktemp("charts") / "kubetune"))
    file = chart / "files" / "crds" / "finetunejobs.yaml"
    definition = yaml.safe_load(file.read_text("utf-8"))
    definition["spec"]["versions"][0]["additionalPrinterColumns"].pop(0)
    file.write_text(yaml.safe_dump(definition, sort_keys=False))
    return chart


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, old_chart: Path) -> Iterator[ControlPlane]:
    """A cluster of its own, since a release takes no definition over that others installed; without KubeRay."""
    with running_control_plane(tmp_path_factory.mktemp("cluster"), kuberay=False) as plane:
        kubelet = Kubelet(plane)
        kubelet.register()
        plane.make_namespace("team-a")
        plane.make_namespace(NAMESPACE, **{"pod-security.kubernetes.io/enforce": "restricted"})
        with kubelet.steps():
            notes = run_helm(plane, "install", "kubetune", old_chart, "--wait")
            assert "KubeRay is NOT installed" in notes
            assert "There is NO namespace monitoring, and pods of no other reach the metrics" in notes
            yield plane


def test_a_release_runs_and_has_brought_its_profile(cluster: ControlPlane) -> None:
    status = cluster.get(DEPLOYMENT).body["status"]
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    assert cluster.get(PROFILE).body["spec"]["limits"] == {"maxWorkers": 8}


def test_a_second_release_is_refused_with_the_name_of_the_first(cluster: ControlPlane) -> None:
    """O15: two operators would handle every job twice."""
    more = ("--namespace", "team-a", "--set", "crds.install=false")
    done = helm("install", "another", CHART, *more, kubeconfig=cluster.admin_kubeconfig)
    assert done.returncode != 0
    assert f"the release kubetune in the namespace {NAMESPACE} is kubetune already" in done.stderr


def test_an_upgrade_brings_the_new_definitions_and_keeps_the_jobs(cluster: ControlPlane) -> None:
    assert cluster.create(JOBS, job("before-the-upgrade")).accepted
    before = column_names(cluster)
    cluster.make_namespace("monitoring")
    assert "There is NO namespace" not in run_helm(cluster, "upgrade", "kubetune", CHART, "--wait")
    assert set(column_names(cluster)) - set(before) == {"Phase"}
    assert cluster.get(f"{JOBS}/before-the-upgrade").accepted
    # The profile came as a hook; now it is the release's.
    assert "kind: FineTuneProfile" in run_helm(cluster, "get", "manifest", "kubetune")


def test_who_may_edit_runs_jobs_but_writes_no_status_and_no_profile(cluster: ControlPlane) -> None:
    bind(cluster, "edit", "alice")
    alice = cluster.as_user("alice")
    assert alice.create(JOBS, job("of-alice")).accepted
    assert alice.merge(f"{JOBS}/of-alice", {"spec": {"suspend": True}}).accepted
    assert alice.get(f"{JOBS}/of-alice/status").accepted
    assert alice.merge(f"{JOBS}/of-alice/status", {"status": {"phase": "Succeeded"}}).status == 403
    assert alice.get(PROFILE).accepted
    assert alice.merge(PROFILE, {"spec": {"limits": {"maxWorkers": 4096}}}).status == 403
    assert alice.create(JOBS.replace("team-a", "default"), job("elsewhere")).status in (400, 403)
    assert alice.delete(f"{JOBS}/of-alice").accepted


def test_who_may_view_sees_jobs_and_changes_none(cluster: ControlPlane) -> None:
    bind(cluster, "view", "bob")
    bob = cluster.as_user("bob")
    assert bob.get(JOBS).accepted
    assert bob.create(JOBS, job("of-bob")).status == 403


def test_jobs_definitions_and_profile_outlive_a_release_and_a_new_one_takes_them_over(cluster: ControlPlane) -> None:
    assert cluster.create(JOBS, job("outlives")).accepted
    uid = cluster.get(PROFILE).body["metadata"]["uid"]
    run_helm(cluster, "uninstall", "kubetune", "--wait")
    assert cluster.get(DEPLOYMENT).status == 404
    assert cluster.get(f"{JOBS}/outlives").accepted
    assert cluster.get(PROFILE).body["metadata"]["uid"] == uid
    run_helm(cluster, "install", "kubetune", CHART, "--wait")
    assert cluster.get(f"{JOBS}/outlives").accepted
    assert cluster.get(PROFILE).body["metadata"]["uid"] == uid
