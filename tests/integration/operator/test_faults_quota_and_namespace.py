"""What a cluster takes nothing into: a quota that is used up, a namespace that ends."""

from servers.control_plane import ControlPlane
from servers.kubelet import Kubelet
from servers.proxy import Proxy
from support.fault_injection import JobScenario, Writes, begin, run_scenarios
from support.operator_process import Operator, settled

RIGHTS = "/apis/rbac.authorization.k8s.io/v1"


def trains(scenario: JobScenario) -> bool:
    return scenario.status.get("reason") == "Training"


def test_a_quota_is_told_in_its_own_words_and_the_job_goes_on_when_it_is_raised(
    plane: ControlPlane, node: Kubelet, tenant: str, proxy: Proxy, behind_proxy: Operator
) -> None:
    writes, path = Writes(proxy), f"/api/v1/namespaces/{tenant}/resourcequotas/few"
    limit_ray_jobs(plane, path, 0)
    scenario = begin(plane, node, tenant)
    refused = scenario.job.wait_for(reason="CreationRefused")
    assert refused["phase"] == "Pending"
    assert "exceeded quota: few, requested: count/rayjobs.ray.io=1, used: count/rayjobs.ray.io=0" in refused["message"]
    assert settled(3, lambda: status_writes(proxy, tenant)) == 0
    limit_ray_jobs(plane, path, 1)
    run_scenarios([scenario])
    assert len(scenario.status["attempts"]) == 1
    assert settled(3, lambda: writes.of([scenario])) == 0


def limit_ray_jobs(plane: ControlPlane, path: str, number: int) -> None:
    hard = {"count/rayjobs.ray.io": str(number)}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}}
    answer = plane.apply(path, quota)
    assert answer.accepted, answer.message
    plane.wait_for(path, lambda found: found.get("status", {}).get("hard") == hard)


def status_writes(proxy: Proxy, namespace: str) -> int:
    return sum(request.path.endswith("/status") and namespace in request.path for request in list(proxy.requests))


def test_a_namespace_that_is_deleted_takes_its_jobs_along_and_leaves_no_errors(
    plane: ControlPlane, node: Kubelet, tenant: str, proxy: Proxy, behind_proxy: Operator
) -> None:
    writes = Writes(proxy)
    scenarios = [begin(plane, node, tenant) for _ in range(2)]
    run_scenarios(scenarios, until=trains)
    scenarios.append(begin(plane, node, tenant))
    assert plane.delete(f"/api/v1/namespaces/{tenant}").accepted
    plane.wait_until_gone(f"/api/v1/namespaces/{tenant}")
    plane.wait_for("/readyz", lambda _: behind_proxy.metric("kubetune_jobs", namespace=tenant) == 0)
    assert settled(3, lambda: writes.of(scenarios)) == 0
    assert settled(1, lambda: behind_proxy.metric("kubetune_reconcile_errors_total")) == 0
