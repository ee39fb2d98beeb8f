"""The control plane of the tests: KubeRay, the scheduler and the controllers do on it what they do in a cluster."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import psutil
import pytest

from servers.control_plane import ControlPlane, running_control_plane
from servers.kube_client import Object, conditions
from servers.kubelet import Kubelet, RefusedError
from servers.processes import accepts_connections
from servers.proxy import READS, Answer, Proxy

RAY = "/apis/ray.io/v1/namespaces"


def pod_template(name: str, **resources: str) -> Object:
    container = {"name": name, "image": "none:1", "resources": {"limits": resources}}
    return {"spec": {"containers": [container], "restartPolicy": "Never"}}


def ray_job(name: str) -> Object:
    """A head, and a worker with one GPU."""
    head = {"rayStartParams": {}, "template": pod_template("head", cpu="1", memory="1Gi")}
    gpu = {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}
    workers = {"groupName": "workers", "replicas": 1, "rayStartParams": {}, "template": pod_template("worker", **gpu)}
    spec = {
        "entrypoint": "python -m none",
        "suspend": False,
        "submissionMode": "K8sJobMode",
        "backoffLimit": 0,
        "submitterConfig": {"backoffLimit": 0},
        "rayClusterSpec": {"rayVersion": "2.60.0", "headGroupSpec": head, "workerGroupSpecs": [workers]},
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": name}, "spec": spec}


class SimulatedRayJob:
    """A RayJob of a test, and what becomes of it."""

    def __init__(self, plane: ControlPlane, kubelet: Kubelet, namespace: str) -> None:
        self.plane, self.kubelet, self.namespace = plane, kubelet, namespace
        self.path = f"{RAY}/{namespace}/rayjobs/simulated"
        answer = plane.create(f"{RAY}/{namespace}/rayjobs", ray_job("simulated"))
        assert answer.accepted, answer.message

    def wait_for(self, **status: Any) -> Object:
        """The RayJob's status, once it has these fields."""
        found = self.plane.wait_for(self.path, lambda job: status.items() <= job.get("status", {}).items())
        return dict(found["status"])

    def wait_for_pods(self, number: int, selector: str = "") -> list[Object]:
        """The pods, once so many are bound to the node."""
        self.plane.wait_for(
            f"/api/v1/namespaces/{self.namespace}/pods",
            lambda _: len(self.kubelet.pods(self.namespace, selector)) == number,
        )
        return self.kubelet.pods(self.namespace, selector)

    def until_running(self) -> str:
        """Simulates it until its Ray job runs; the id of that."""
        with self.kubelet.steps():
            job = self.wait_for(jobDeploymentStatus="Running")["jobId"]
            self.wait_for_pods(1, "job-name=simulated")
        self.plane.heads.report(job, "RUNNING")
        self.wait_for(jobStatus="RUNNING")
        return str(job)

    def submitter(self) -> Object:
        """The pod of the Job that submits the Ray job and waits for it."""
        return self.kubelet.pods(self.namespace, "job-name=simulated")[0]


@pytest.fixture
def run(control_plane: ControlPlane, kubelet: Kubelet, namespace: str) -> SimulatedRayJob:
    return SimulatedRayJob(control_plane, kubelet, namespace)


def test_pods_of_a_ray_job_are_bound_and_make_its_cluster_ready_once_they_run(run: SimulatedRayJob) -> None:
    head, worker = sorted(run.wait_for_pods(2), key=lambda pod: str(pod["metadata"]["labels"]["ray.io/node-type"]))
    cluster = f"{RAY}/{run.namespace}/rayclusters/{head['metadata']['labels']['ray.io/cluster']}"
    run.kubelet.run(head)
    run.kubelet.hold(worker, "ImagePullBackOff", "no such image")
    run.plane.wait_for_condition(cluster, "HeadPodReady")
    assert run.plane.get(cluster).body["status"].get("state") != "ready"
    run.kubelet.run(worker)
    run.plane.wait_for(cluster, lambda found: found["status"].get("state") == "ready")


@pytest.mark.parametrize(("ray_status", "deployment"), [("SUCCEEDED", "Complete"), ("FAILED", "Failed")])
def test_a_ray_job_ends_as_its_dashboard_says(run: SimulatedRayJob, ray_status: str, deployment: str) -> None:
    run.plane.heads.report(run.until_running(), ray_status, "said by the dashboard")
    run.kubelet.succeed(run.submitter())
    status = run.wait_for(jobDeploymentStatus=deployment)
    assert status["jobStatus"] == ray_status
    assert status["message"] == "said by the dashboard"


def test_the_pods_of_a_deleted_ray_job_go_when_their_kubelet_lets_them(run: SimulatedRayJob) -> None:
    job = run.until_running()
    run.kubelet.keeps_deleted = True
    assert run.plane.delete(run.path).accepted
    with run.kubelet.steps():
        pods = f"/api/v1/namespaces/{run.namespace}/pods"
        run.plane.wait_for(pods, lambda found: all("deletionTimestamp" in pod["metadata"] for pod in found["items"]))
        assert len(run.kubelet.pods(run.namespace)) == 3
        run.kubelet.keeps_deleted = False
        run.plane.wait_for(pods, lambda found: not found["items"])
    run.plane.wait_until_gone(run.path)
    assert job in run.plane.heads.stopped


def test_kuberay_replaces_a_head_that_ran_out_of_memory(run: SimulatedRayJob) -> None:
    run.until_running()
    (head,) = run.kubelet.pods(run.namespace, "ray.io/node-type=head")
    written = run.kubelet.fail_for_memory(head)
    assert written["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"
    pods = f"/api/v1/namespaces/{run.namespace}/pods"
    gone = head["metadata"]["uid"]
    run.plane.wait_for(pods, lambda found: gone not in {pod["metadata"]["uid"] for pod in found["items"]})
    run.wait_for_pods(1, "ray.io/node-type=head")


def test_a_pod_can_be_removed_for_a_reason_of_the_node(run: SimulatedRayJob) -> None:
    head = run.wait_for_pods(2)[0]
    run.kubelet.run(head)
    written = run.kubelet.remove(head, "Preempting", "Preempted in order to admit critical pod")
    assert written["status"]["reason"] == "Preempting"
    assert ("True", "DisruptionTarget") in conditions(written)


def test_a_node_goes_on_after_the_api_server_refused_it(
    control_plane: ControlPlane, kubelet: Kubelet, run: SimulatedRayJob
) -> None:
    pods = run.wait_for_pods(2)
    with Proxy(control_plane) as proxy:
        proxy.disturb(Answer(403, "Forbidden"), methods=READS, path="^/api/v1/pods", times=3)
        node = Kubelet(proxy.client(), kubelet.name)
        with node.steps():
            for pod in pods:
                path = f"/api/v1/namespaces/{run.namespace}/pods/{pod['metadata']['name']}"
                control_plane.wait_for(path, lambda found: found["status"]["phase"] == "Running")
        proxy.disturb(Answer(403, "Forbidden"), methods=READS, path="^/api/v1/pods", times=1000)
        asked = len(proxy.requests)
        with pytest.raises(RefusedError, match="the tests want it so"), node.steps():
            control_plane.wait_for("/api/v1/namespaces/default", lambda _: len(proxy.requests) > asked + 1)


def test_a_user_without_rights_may_nothing_and_a_service_account_what_its_role_says(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    config_maps = f"/api/v1/namespaces/{namespace}/configmaps"
    assert control_plane.as_user("alice").get(config_maps).status == 403
    account = control_plane.as_service_account(namespace, "default")
    assert account.get(config_maps).status == 403
    control_plane.apply(
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/view",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "view"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "default"}, {"kind": "Group", "name": "team-a"}],
        },
    )
    account.wait_for(config_maps, lambda found: bool(found["items"]))
    assert control_plane.as_user("alice").get(config_maps).accepted
    assert control_plane.as_user("bob").get(config_maps).status == 403


def test_single_components_die_freeze_and_come_back_and_none_outlives_the_control_plane(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    with running_control_plane(tmp_path, kuberay=False) as plane:
        started = set(psutil.Process().children(recursive=True)) - before
        assert len(started) == 4
        namespace = plane.make_namespace("kept")
        plane.kube_apiserver.freeze()
        with pytest.raises(OSError, match="timed out"):
            plane.request("GET", "/readyz", timeout=0.5)
        plane.kube_apiserver.thaw()
        assert plane.get("/readyz").accepted
        plane.kube_apiserver.kill()
        with pytest.raises(URLError):
            plane.get("/readyz")
        plane.kube_apiserver.start()
        assert plane.get(f"/api/v1/namespaces/{namespace}").accepted
        assert plane.make_namespace("later")
        started |= set(psutil.Process().children(recursive=True)) - before
    assert not any(process.is_running() for process in started)
    assert not accepts_connections(plane.port)
