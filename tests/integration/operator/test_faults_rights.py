"""What an operator may lack for a while: its rights, and KubeRay."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.control_plane import ControlPlane, running_control_plane
from servers.kube_client import KubeClient
from servers.kubelet import Kubelet
from servers.proxy import Proxy
from support.fault_injection import JobScenario, Writes, begin, run_scenarios
from support.operator_process import Operator, install, running, settled

RIGHTS = "/apis/rbac.authorization.k8s.io/v1"


def trains(scenario: JobScenario) -> bool:
    return scenario.status.get("reason") == "Training"


@pytest.fixture
def user(plane: ControlPlane) -> Iterator[KubeClient]:
    """A user with all that an operator needs; to the other tests he is one without any right."""
    grant(plane)
    yield plane.as_user("alice")
    withdraw(plane)


def grant(plane: ControlPlane) -> None:
    name, group = "operator-of-the-tests", "rbac.authorization.k8s.io"
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    meta = {"apiVersion": f"{group}/v1", "metadata": {"name": name}}
    subject = {"kind": "User", "name": "alice", "apiGroup": group}
    role = {**meta, "kind": "ClusterRole", "rules": everything}
    binding = {
        **meta,
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [subject],
    }
    for plural, body in (("clusterroles", role), ("clusterrolebindings", binding)):
        answer = plane.apply(f"{RIGHTS}/{plural}/{name}", body)
        assert answer.accepted, answer.message


def withdraw(plane: ControlPlane) -> None:
    assert plane.delete(f"{RIGHTS}/clusterrolebindings/operator-of-the-tests").accepted


@pytest.fixture
def operator_of_user(proxy: Proxy, user: KubeClient, tmp_path: Path) -> Iterator[Operator]:
    """An operator with the rights of the user, in a namespace of its own."""
    kubeconfig = proxy.client(user.token).kubeconfig(tmp_path / "kubeconfig")
    with running(Operator(kubeconfig, tmp_path, namespace="kubetune-system")) as operator:
        yield operator


def test_withdrawn_rights_stop_the_operator_and_it_catches_up_when_they_are_back(
    plane: ControlPlane, node: Kubelet, tenant: str, proxy: Proxy, operator_of_user: Operator
) -> None:
    writes = Writes(proxy)
    finished, deleted, goes_on = scenarios = [begin(plane, node, tenant) for _ in range(3)]
    run_scenarios(scenarios, until=trains)
    withdraw(plane)
    proxy.cut()
    plane.wait_for("/readyz", lambda _: operator_of_user.metric("kubetune_api_requests_total", code="403") > 3)
    finished.job.say_succeeded()
    assert plane.delete(deleted.job.path).accepted
    new = begin(plane, node, tenant)
    plane.wait_for("/readyz", lambda _: operator_of_user.metric("kubetune_leader") == 0)
    assert "startTime" not in new.job.status
    grant(plane)
    run_scenarios([finished, goes_on, new])
    assert all(scenario.status["phase"] == "Succeeded" for scenario in (finished, goes_on, new))
    plane.wait_for("/readyz", lambda _: operator_of_user.metric("kubetune_jobs", namespace=tenant) == 3)
    assert settled(3, lambda: writes.of(scenarios)) == 0


@pytest.fixture
def without_kuberay(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane without KubeRay."""
    folder = tmp_path / "plane"
    folder.mkdir()
    with running_control_plane(folder, kuberay=False) as plane:
        install(plane)
        yield plane


def test_a_job_waits_for_kuberay_and_runs_when_it_is_installed(without_kuberay: ControlPlane, tmp_path: Path) -> None:
    plane, kubelet = without_kuberay, Kubelet(without_kuberay)
    kubelet.register()
    operator = Operator(plane.admin_kubeconfig, tmp_path, namespace="kubetune-system")
    with kubelet.steps(), running(operator):
        scenario = begin(plane, kubelet, plane.make_namespace("team"))
        waiting = scenario.job.wait_for(reason="KubeRayMissing")
        assert waiting["phase"] == "Pending"
        assert "install KubeRay" in waiting["message"]
        assert "startTime" not in waiting
        assert settled(3, lambda: operator.metric("kubetune_api_requests_total", verb="patch")) == 0
        plane.install_kuberay()
        run_scenarios([scenario])
        assert len(scenario.status["attempts"]) == 1
