"""What a cluster does not let in, and what it does to the pods that it lets in, told in a job's status.

The operator has the rights of the chart: those to read events and Kueue's Workloads serve these messages alone.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from servers.control_plane import ControlPlane
from servers.pod_status import OUT_OF_MEMORY
from support.chart import NAMESPACE
from support.operator_process import RAY, Object, Operator, SimulatedJob, make_profile, running
from support.operator_rbac import Account

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    kubeconfig = Account(plane).make().kubeconfig(folder / "kubeconfig")
    with running(Operator(kubeconfig, folder, namespace=NAMESPACE)) as operator:
        yield operator


@pytest.fixture
def job(new_job: Callable[[], SimulatedJob]) -> Iterator[SimulatedJob]:
    """A job that goes with its test: refused again every minute, it would show in the counts of later ones."""
    job = new_job()
    yield job
    job.plane.delete(job.path)


def put(plane: ControlPlane, path: str, kind: str, version: str, **body: object) -> None:
    """Makes an object whose name ends its path."""
    name = path.rpartition("/")[2]
    answer = plane.apply(path, {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **body})
    assert answer.accepted, answer.message


def limit_pods(job: SimulatedJob, number: int) -> None:
    path = f"/api/v1/namespaces/{job.namespace}/resourcequotas/small"
    put(job.plane, path, "ResourceQuota", "v1", spec={"hard": {"pods": str(number)}})
    job.plane.wait_for(path, lambda found: found.get("status", {}).get("hard") == {"pods": str(number)})


def limit_cpu(job: SimulatedJob) -> None:
    limits = [{"type": "Container", "max": {"cpu": "100m"}}]
    path = f"/api/v1/namespaces/{job.namespace}/limitranges/tiny"
    put(job.plane, path, "LimitRange", "v1", spec={"limits": limits})


def name_no_account(job: SimulatedJob) -> None:
    make_profile(job.plane, job.namespace, serviceAccountName="nobody")


def matching(job: SimulatedJob, group: str, version: str, *resources: str) -> Object:
    """What an admission configuration says to be asked of this namespace alone."""
    rule = {"apiGroups": [group], "apiVersions": [version], "operations": ["CREATE"], "resources": list(resources)}
    return {"rule": rule, "namespace": {"matchLabels": {"kubernetes.io/metadata.name": job.namespace}}}


def deny(job: SimulatedJob, group: str, version: str, resource: str) -> None:
    """A ValidatingAdmissionPolicy against everything of the kind."""
    name, match = f"deny-{job.namespace}-{resource}", matching(job, group, version, resource)
    spec = {
        "matchConstraints": {"resourceRules": [match["rule"]]},
        "validations": [{"expression": "false", "message": "a cost centre is needed"}],
    }
    put(
        job.plane,
        f"{ADMISSION}/validatingadmissionpolicies/{name}",
        "ValidatingAdmissionPolicy",
        "admissionregistration.k8s.io/v1",
        spec=spec,
    )
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": match["namespace"]},
    }
    put(
        job.plane,
        f"{ADMISSION}/validatingadmissionpolicybindings/{name}",
        "ValidatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io/v1",
        spec=binding,
    )


def call_webhook(job: SimulatedJob, group: str, version: str, resource: str) -> None:
    """A webhook that nothing answers for."""
    match = matching(job, group, version, resource)
    webhook = {
        "name": "policy.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [match["rule"]],
        "namespaceSelector": match["namespace"],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    put(
        job.plane,
        f"{ADMISSION}/validatingwebhookconfigurations/call-{job.namespace}-{resource}",
        "ValidatingWebhookConfiguration",
        "admissionregistration.k8s.io/v1",
        webhooks=[webhook],
    )


def until_denied(job: SimulatedJob, resource: str, body: Object) -> None:
    """The API server takes a moment to obey a new policy or webhook."""
    deadline = time.monotonic() + 30
    while job.plane.create(resource, body, dryRun="All").accepted:
        assert time.monotonic() < deadline, "nothing refuses it"
        time.sleep(0.1)


def until_no_pod_is_let_in(job: SimulatedJob) -> None:
    container = {"name": "c", "image": "i", "securityContext": RESTRICTED_CONTAINER}
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [container]}}
    until_denied(job, f"/api/v1/namespaces/{job.namespace}/pods", pod)


def deny_pods(job: SimulatedJob) -> None:
    deny(job, *PODS)
    until_no_pod_is_let_in(job)


def call_webhook_for_pods(job: SimulatedJob) -> None:
    call_webhook(job, *PODS)
    until_no_pod_is_let_in(job)


PODS = ("", "v1", "pods")


@pytest.mark.parametrize(
    ("refuse", "words"),
    [
        pytest.param(partial(limit_pods, number=0), "exceeded quota: small, requested: pods=1", id="a quota"),
        pytest.param(limit_cpu, "maximum cpu usage per Container is 100m", id="a LimitRange"),
        pytest.param(deny_pods, "a cost centre is needed", id="a policy"),
        pytest.param(call_webhook_for_pods, 'failed calling webhook "policy.example.com"', id="a webhook"),
        pytest.param(name_no_account, 'serviceaccount "nobody" not found', id="no ServiceAccount"),
    ],
)
def test_why_no_pod_is_made_is_told(refuse: Callable[[SimulatedJob], None], words: str, job: SimulatedJob) -> None:
    """O3"""
    refuse(job)
    profile = job.namespace if refuse is name_no_account else "default"
    told = job.apply(profileRef={"name": profile}).wait_for(reason="CreationRefused")
    assert told["phase"] == "Admitted"
    assert "no pod can be made for the head" in told["message"]
    assert words in told["message"]


def test_a_ray_job_that_a_webhook_keeps_out_is_told(job: SimulatedJob) -> None:
    """O3: the API server answers 500."""
    call_webhook(job, "ray.io", "v1", "rayjobs")
    ray_job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "probe"},
        "spec": {"managedBy": "kueue.x-k8s.io/multikueue"},
    }
    until_denied(job, f"{RAY}/namespaces/{job.namespace}/rayjobs", ray_job)
    told = job.apply().wait_for(reason="CreationRefused")
    assert 'failed calling webhook "policy.example.com"' in told["message"]


def test_a_submitter_that_no_quota_lets_in_is_named_and_no_deadline_counts(job: SimulatedJob) -> None:
    """O1"""
    limit_pods(job, 2)
    told = job.apply(activeDeadlineSeconds=1).wait_for(reason="CreationRefused")
    assert "no pod can be made for the submitter: " in told["message"]
    assert "exceeded quota: small" in told["message"]
    time.sleep(2)
    assert (job.status["phase"], "runningTime" in job.status["attempts"][0]) == ("Admitted", False)


def test_a_submitter_whose_job_a_policy_keeps_out_is_named(job: SimulatedJob) -> None:
    """O1"""
    deny(job, "batch", "v1", "jobs")
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    probe = {"metadata": {"name": "probe"}, "spec": {"template": template}}
    until_denied(job, f"/apis/batch/v1/namespaces/{job.namespace}/jobs", probe)
    told = job.apply().wait_for(reason="CreationRefused")
    assert "no pod can be made for the submitter: " in told["message"]
    assert "a cost centre is needed" in told["message"]


def test_a_submitter_that_no_node_tolerates_is_named(plane: ControlPlane, job: SimulatedJob) -> None:
    """O1"""
    path = f"/api/v1/nodes/{job.kubelet.name}"
    try:
        with job.kubelet.held():
            job.apply()
            pods = f"/api/v1/namespaces/{job.namespace}/pods"
            plane.wait_for(pods, lambda found: sum("nodeName" in pod["spec"] for pod in found["items"]) == 2)
            assert plane.merge(path, {"spec": {"taints": [{"key": "dedicated", "effect": "NoSchedule"}]}}).accepted
        waiting = job.wait_for(reason="WaitingForNodes")
    finally:
        assert plane.merge(path, {"spec": {"taints": None}}).accepted
    assert waiting["phase"] == "Admitted"
    assert "the submitter" in waiting["message"]
    assert "untolerated taint" in waiting["message"]
    job.run_until_training()


def test_a_registry_that_is_away_costs_an_attempt_and_the_next_one_trains(job: SimulatedJob) -> None:
    """O8"""
    with job.kubelet.held():
        job.apply()
        pods = f"/api/v1/namespaces/{job.namespace}/pods"
        job.plane.wait_for(pods, lambda found: len(found["items"]) == 2)
        for pod in job.pods():
            job.kubelet.hold(pod, "ImagePullBackOff", 'Back-off pulling image: Head "https://r/v2/": i/o timeout')
        job.wait_until(lambda status: status["attempts"][0].get("reason") == "RegistryUnavailable")
    job.run_until_training(attempt=2)
    assert job.status["attempts"][0]["exempt"] is False


def test_a_worker_that_looks_for_a_ready_head_is_followed_until_it_has_found_it(job: SimulatedJob) -> None:
    """KubeRay's init container looks for ever: the operator must know it by its name."""
    with job.kubelet.held():
        job.apply()
        pods = f"/api/v1/namespaces/{job.namespace}/pods"
        job.plane.wait_for(pods, lambda found: len(found["items"]) == 2)
        (head,), (worker,) = job.pods("head"), job.pods("worker")
        job.kubelet.initialise(worker)
        job.kubelet.run(head)
        (looking,) = job.wait_until(lambda status: "stuckPod" in status["attempts"][0])["attempts"]
        assert (looking["stuckPod"], looking["stuckReason"]) == (worker["metadata"]["name"], "HeadUnreachable")
        job.kubelet.run(worker)
        job.wait_until(lambda status: "stuckPod" not in status["attempts"][0])
    job.run_until_training()


@pytest.fixture
def meshed(job: SimulatedJob) -> SimulatedJob:
    """A job in whose pods a policy puts a container of its own, before all others."""
    name, match = f"mesh-{job.namespace}", matching(job, *PODS)
    sidecar = (
        'Object.spec.containers{name: "mesh", image: "mesh:1", securityContext:'
        " Object.spec.containers.securityContext{allowPrivilegeEscalation: false, capabilities:"
        ' Object.spec.containers.securityContext.capabilities{drop: ["ALL"]}}}'
    )
    patch = f'[JSONPatch{{op: "add", path: "/spec/containers/0", value: {sidecar}}}]'
    spec = {
        "matchConstraints": {"resourceRules": [match["rule"]]},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    }
    kinds = (
        ("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
        (
            "mutatingadmissionpolicybindings",
            "MutatingAdmissionPolicyBinding",
        ),
    )
    binding = {"policyName": name, "matchResources": {"namespaceSelector": match["namespace"]}}
    for (plural, kind), body in zip(kinds, (spec, binding), strict=True):
        put(job.plane, f"{ADMISSION}/{plural}/{name}", kind, "admissionregistration.k8s.io/v1", spec=body)
    time.sleep(2)  # until the API server obeys it
    return job


def containers_of(pod: Object) -> list[str]:
    return [container["name"] for container in pod["spec"]["containers"]]


def test_a_sidecar_that_is_not_there_is_named_with_who_must_act(meshed: SimulatedJob) -> None:
    """O7"""
    job = meshed
    with job.kubelet.held():
        job.apply()
        job.plane.wait_for(f"/api/v1/namespaces/{job.namespace}/pods", lambda found: len(found["items"]) == 2)
        (head,) = job.pods("head")
        assert containers_of(head) == ["mesh", "head"]
        job.kubelet.hold(head, "ImagePullBackOff", "mesh:1: not found", container="mesh")
        failed = job.wait_for(phase="Failed")
    assert failed["reason"] == "ImagePullFailed"
    assert "the container mesh, which is not kubetune's" in failed["message"]
    assert "spec.image" not in failed["message"]


def test_a_sidecar_that_was_killed_makes_no_preemption_a_lack_of_memory(meshed: SimulatedJob) -> None:
    """O2"""
    job = meshed.apply(retry={"maxAttempts": 1, "backoffSeconds": 0})
    ray_id = job.run_until_training()
    job.kubelet.crash(job.pods("worker")[0], "mesh", OUT_OF_MEMORY)
    job.wait_until(lambda status: status["attempts"][0].get("evidence"))
    job.kubelet.remove(job.pods("head")[0], "Preempting", "Preempted in order to admit critical pod")
    job.wait_until(lambda status: status["attempts"][0].get("reason") == "Preempted")
    job.end_ray(ray_id, "FAILED")
    job.run_until_training(attempt=2)
    first = job.status["attempts"][0]
    assert first["exempt"] is True
    assert any("container mesh (not kubetune's) ended with 137 (OOMKilled)" in line for line in first["evidence"])


def test_a_ray_job_whose_labels_somebody_took_runs_on_until_it_is_deleted(job: SimulatedJob) -> None:
    """O9"""
    job.apply()
    job.run_until_training()
    (ray_job,) = job.ray_jobs()
    path = f"{RAY}/namespaces/{job.namespace}/rayjobs/{ray_job['metadata']['name']}"
    nothing = dict.fromkeys(("app.kubernetes.io/managed-by", "kubetune.dev/job-uid"))
    assert job.plane.merge(path, {"metadata": {"labels": nothing}}).accepted
    told = job.wait_until(lambda status: "somebody changed the labels" in status["message"])
    assert told["phase"] == "Running"
    assert job.plane.delete(path).accepted
    job.wait_until(lambda status: status["attempts"][0].get("reason") == "AttemptDeleted")


def test_what_kueue_says_of_a_queue_that_does_not_exist_is_told(plane: ControlPlane, job: SimulatedJob) -> None:
    """O11"""
    kind = {"kind": "Workload", "plural": "workloads", "singular": "workload", "listKind": "WorkloadList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1beta2", "served": True, "storage": True, "schema": schema}
    spec = {"group": "kueue.x-k8s.io", "names": kind, "scope": "Namespaced", "versions": [version]}
    definition = f"{DEFINITIONS}/workloads.kueue.x-k8s.io"
    put(plane, definition, "CustomResourceDefinition", "apiextensions.k8s.io/v1", spec=spec)
    plane.wait_for_condition(definition, "Established")
    job.apply(queueName="nope").wait_for(reason="WaitingForQuota")
    (ray_job,) = job.ray_jobs()
    name = f"rayjob-{secrets.token_hex(3)}"
    words = {"type": "QuotaReserved", "status": "False", "message": "LocalQueue nope doesn't exist"}
    put(
        plane,
        f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{job.namespace}/workloads/{name}",
        "Workload",
        "kueue.x-k8s.io/v1beta2",
        metadata={"name": name, "labels": {"kueue.x-k8s.io/job-uid": ray_job["metadata"]["uid"]}},
        status={"conditions": [words]},
    )
    told = job.wait_until(lambda status: "Kueue says" in status["message"])
    assert "waits in queue nope for quota; Kueue says: LocalQueue nope doesn't exist" in told["message"]
