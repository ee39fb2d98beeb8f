"""What a profile says of a fast network between nodes of GPUs, in a job's pods: those of its workers alone."""

from typing import Any

from kubetune_operator.jobs import names
from support.observed_jobs import UID, Object, job, plan, profile

INFINIBAND: Object = {
    "accelerator": {"memory": "80Gi"},
    "workersPerPod": 8,
    "worker": {
        "cpu": "12",
        "memory": "96Gi",
        "extraResources": {"rdma/ib": 1, "hugepages-2Mi": "640Mi"},
        "env": [{"name": "NCCL_IB_HCA", "value": "mlx5"}],
        "podAnnotations": {"k8s.v1.cni.cncf.io/networks": "rail-0"},
        "runtimeClassName": "nvidia",
        "affinity": {"topologyKey": "example.com/block"},
    },
}


def pods(workers: int, **worker: Any) -> dict[str, Object]:
    """The templates of a job's pods, by their group, where a worker's part of the profile also says this."""
    by = profile(**{**INFINIBAND, "worker": {**INFINIBAND["worker"], **worker}})
    made = plan(job(resources__workers=workers), by).create
    assert made is not None
    cluster = made["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    others = {"head": cluster["headGroupSpec"]["template"], "submitter": made["spec"]["submitterPodTemplate"]}
    return groups | others


def variables(pod: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}


def test_each_pod_of_two_nodes_asks_for_the_resources_of_its_workers_and_gets_as_much() -> None:
    (container,) = pods(16)["workers"]["spec"]["containers"]
    wanted = {"nvidia.com/gpu": "8", "rdma/ib": "8", "hugepages-2Mi": str(8 * 640 * 2**20)}
    assert container["resources"]["requests"].items() >= wanted.items()
    assert container["resources"]["limits"] == container["resources"]["requests"]
    (rest,) = pods(9)["rest"]["spec"]["containers"]
    assert rest["resources"]["limits"].items() >= {"nvidia.com/gpu": "1", "rdma/ib": "1"}.items()


def test_the_workers_have_the_variables_annotations_and_runtime_class_of_the_profile() -> None:
    worker = pods(16)["workers"]
    assert variables(worker)["NCCL_IB_HCA"] == "mlx5"
    annotations = worker["metadata"]["annotations"]
    assert annotations["k8s.v1.cni.cncf.io/networks"] == "rail-0"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"
    assert worker["spec"]["runtimeClassName"] == "nvidia"


def test_head_and_submitter_have_nothing_of_it() -> None:
    for role in ("head", "submitter"):
        pod = pods(16, lockMemoryAsRoot=True)[role]
        assert not pod["spec"].keys() & {"runtimeClassName", "affinity"}
        assert "k8s.v1.cni.cncf.io/networks" not in pod["metadata"]["annotations"]
        assert not [name for name in variables(pod) if name.startswith(("NCCL_", "PYTORCH_"))]
        (container,) = pod["spec"]["containers"]
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_pods_of_an_attempt_share_a_block_or_wait_for_one() -> None:
    (term,) = pods(16)["workers"]["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term == {
        "labelSelector": {"matchLabels": {names.JOB_UID: UID, names.ATTEMPT: "1", names.ROLE: "worker"}},
        "topologyKey": "example.com/block",
    }
    labels = pods(16)["workers"]["metadata"]["labels"]
    assert labels.items() >= term["labelSelector"]["matchLabels"].items()


def test_a_wish_for_a_block_holds_nobody_up() -> None:
    near = pods(16, affinity={"topologyKey": "example.com/block", "required": False})["workers"]["spec"]["affinity"]
    ((wish,),) = near["podAffinity"].values()
    assert list(near["podAffinity"]) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["podAffinityTerm"]["topologyKey"] == "example.com/block"


def test_locking_memory_takes_root_with_one_capability_and_nothing_else_of_it() -> None:
    """A capability that is added to a container of another user has no effect: Kubernetes sets no ambient ones."""
    (container,) = pods(16, lockMemoryAsRoot=True)["workers"]["spec"]["containers"]
    assert container["securityContext"] == {
        "runAsUser": 0,
        "runAsNonRoot": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]},
    }


def test_memory_of_gpus_is_taken_in_segments_that_grow_unless_the_profile_says_how() -> None:
    assert variables(pods(1)["rest"])["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    said = pods(1, env=[{"name": "PYTORCH_ALLOC_CONF", "value": "backend:cudaMallocAsync"}])["rest"]
    assert "PYTORCH_CUDA_ALLOC_CONF" not in variables(said)


def test_workers_on_cpus_get_no_variable_of_gpus() -> None:
    made = plan(job(), profile()).create
    assert made is not None
    (group,) = made["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert not [name for name in variables(group["template"]) if name.startswith("PYTORCH_")]


def test_the_platforms_annotations_count_where_a_job_passes_on_others_of_the_same_name() -> None:
    network = "k8s.v1.cni.cncf.io/networks"
    by = profile(**INFINIBAND, allowedInheritedMetadata={"annotations": [network]})
    made = plan(job(resources__workers=8, inheritedMetadata={"annotations": {network: "another"}}), by).create
    assert made is not None
    (group,) = made["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["template"]["metadata"]["annotations"][network] == "rail-0"
