import hashlib
import json
import re
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._private.ray_constants import OBJECT_STORE_MINIMUM_MEMORY_BYTES

from kubetune_api.job import FineTuneJob, Method
from kubetune_api.profile import LEAST_SHARED_MEMORY
from kubetune_api.quantity import amount
from kubetune_api.run import Run
from kubetune_api.stopping import STOP_VARIABLE, stop_hook
from kubetune_operator.jobs import names
from kubetune_operator.jobs.objects.ray_job import pod_groups
from kubetune_operator.jobs.reconcile import reconcile
from support.observed_jobs import (
    NAMESPACE,
    REPORTS,
    SETTINGS,
    START,
    UID,
    Object,
    attempt,
    job,
    name_of,
    plan,
    profile,
    see,
    started,
    walk,
)

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
SECRETS = [{"prefix": "s3://models", "secretName": "models"}, {"prefix": "s3://data", "secretName": "data"}]
FULL: Object = {
    "accelerator": {"memory": "80Gi"},
    "workersPerPod": 4,
    "worker": {"cpu": "500m", "memory": "1.5Gi"},
    "head": {"cpu": "1", "memory": "4Gi"},
    "sharedMemorySize": "1Gi",
    "scratchSize": "10Gi",
    "nodeSelector": {"gpu": "a100"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "imagePullSecrets": ["registry"],
    "imagePullPolicy": "Always",
    "credentials": [{"prefix": "hf://", "secretName": "models"}],
    "endpoints": [
        {"scheme": "s3", "url": "http://minio.storage.svc:9000", "region": "eu-1"},
        {"scheme": "hf", "url": "https://mirror.test"},
    ],
}
TEXTS: Object = {
    "model__uri": "s3://models/$(touch x)`id`;reboot",
    "dataset__uri": "s3://data/\"quoted'&|<>.csv",
    "dataset__columns": {"text": "$HOME", "label": "'; rm -rf / #"},
    "task": {"type": "SequenceClassification", "labels": ["{{ x }}", "${y}"]},
    "output__uri": "s3://models/$(whoami)",
}
"""A manifest whose every free text is a try to be run by something."""


def ray_job(number: int = 1, by: Object | None = None, **spec: Any) -> Object:
    """The RayJob of an attempt."""
    earlier = [attempt(number - 1, ended=-9999)] if number > 1 else []
    shown = job(started(*earlier) if earlier else None, **spec)
    found = plan(shown, by or profile(**FULL)).create
    assert found is not None
    return found


def applied(kind: str, name: str, by: Object | None = None, **spec: Any) -> Object:
    """An object beside it."""
    found = plan(job(**spec), by or profile(**FULL)).apply
    return next(thing for thing in found if (thing["kind"], thing["metadata"]["name"]) == (kind, name))


def templates(thing: Object) -> dict[str, Object]:
    """The pod templates of a RayJob, by the name of their group."""
    cluster = thing["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {
        "head": cluster["headGroupSpec"]["template"],
        "submitter": thing["spec"]["submitterPodTemplate"],
        **groups,
    }


def test_no_autoscaler_moves_a_pod_of_a_run_to_save_a_node() -> None:
    for template in templates(ray_job()).values():
        annotations = template["metadata"]["annotations"]
        assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_nothing_in_kuberay_tries_again_by_itself() -> None:
    made = ray_job()
    assert made["spec"]["backoffLimit"] == 0
    assert made["spec"]["submitterConfig"] == {"backoffLimit": 0}
    assert made["metadata"]["annotations"].items() >= {"ray.io/disable-provisioned-head-restart": "true"}.items()
    assert {template["spec"]["restartPolicy"] for template in templates(made).values()} == {"Never"}
    assert made["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is False


def test_the_submitter_is_a_job_of_its_own_and_the_cluster_goes_a_while_after_the_end() -> None:
    spec = ray_job()["spec"]
    assert (spec["submissionMode"], spec["shutdownAfterJobFinishes"]) == ("K8sJobMode", True)
    assert spec["ttlSecondsAfterFinished"] == 60


def test_ray_itself_asks_for_a_token() -> None:
    assert ray_job()["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("number", [1, 2, 999, 1000, 99999])
def test_name_labels_and_owner_of_a_ray_job(number: int) -> None:
    metadata = ray_job(number)["metadata"]
    assert metadata["name"] == name_of(number)
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "kubetune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "name": "reviews",
            "uid": UID,
            "controller": True,
            "blockOwnerDeletion": False,
        }
    ]
    assert metadata["labels"] == {
        "app.kubernetes.io/managed-by": "kubetune",
        "kubetune.dev/job": "reviews",
        "kubetune.dev/job-uid": UID,
        "kubetune.dev/attempt": str(number),
        "kubetune.dev/profile": "default",
    }


@pytest.mark.parametrize(
    ("spec", "suspended", "labels"),
    [
        pytest.param({}, False, {}, id="without a queue it starts at once"),
        pytest.param({"queueName": "team-a"}, True, {names.QUEUE: "team-a"}, id="with one it waits"),
        pytest.param(
            {"queueName": "team-a", "priorityClassName": "high"},
            True,
            {names.QUEUE: "team-a", names.PRIORITY_CLASS: "high"},
            id="with its priority",
        ),
    ],
)
def test_a_queue_holds_the_ray_job_back(spec: Object, suspended: bool, labels: dict[str, str]) -> None:
    made = ray_job(by=profile(allowedPriorityClassNames=["high"]), **spec)
    assert made["spec"]["suspend"] is suspended
    assert {key: value for key, value in made["metadata"]["labels"].items() if "kueue" in key} == labels


@given(st.integers(1, 4096), st.integers(1, 64))
def test_the_pods_of_all_groups_hold_all_workers(workers: int, per_pod: int) -> None:
    groups = pod_groups(workers, per_pod)
    assert sum(pods * each for _, pods, each in groups) == workers
    assert all(pods > 0 and 0 < each <= per_pod for _, pods, each in groups)
    assert len({name for name, _, _ in groups}) == len(groups)
    assert sum(pods for _, pods, _ in groups) == -(-workers // per_pod), "no more pods than needed"


def test_each_pod_gets_its_workers_share_of_everything() -> None:
    made = ray_job(resources__workers=10)
    groups = {group["groupName"]: group for group in made["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    for name, pods, workers, memory in (("workers", 2, 4, "6442450944"), ("rest", 1, 2, "3221225472")):
        group = groups[name]
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == pods
        assert group["rayStartParams"]["num-cpus"] == str(workers)
        template = group["template"]
        assert template["metadata"]["labels"][names.WORKERS] == str(workers)
        bounds = template["spec"]["containers"][0]["resources"]
        assert bounds["requests"] == bounds["limits"]
        cpu = {4: "2", 2: "1"}[workers]
        assert bounds["limits"] == {"cpu": cpu, "memory": memory, "nvidia.com/gpu": str(workers)}


@given(
    st.integers(1, 64),
    st.sampled_from(["1", "500m", "250m", "1.5", "333m", "1e-1"]),
    st.sampled_from(["8Gi", "1.5Gi", "2000M", "1333Mi", "2e9"]),
)
def test_a_pod_of_several_workers_asks_for_as_many_times_as_much(workers: int, cpu: str, memory: str) -> None:
    by = profile(worker={"cpu": cpu, "memory": memory}, workersPerPod=64)
    bounds = templates(ray_job(by=by, resources__workers=workers))["rest" if workers < 64 else "workers"]
    limits = bounds["spec"]["containers"][0]["resources"]["limits"]
    assert amount(limits["cpu"]) == amount(cpu) * workers
    assert amount(limits["memory"]) == amount(memory) * workers
    assert "nvidia.com/gpu" not in limits


def test_the_workers_alone_get_accelerators_and_none_of_them_runs_on_the_head() -> None:
    made = ray_job()
    for name, template in templates(made).items():
        limits = template["spec"]["containers"][0]["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) == (name in ("workers", "rest"))
    assert made["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def placed(**spec: Any) -> dict[str, tuple[Object, list[Object]]]:
    """Where each pod may go: the labels of its nodes, and the keys of the taints that it tolerates."""
    specs = {name: template["spec"] for name, template in templates(ray_job(by=profile(**spec))).items()}
    return {
        name: (pod.get("nodeSelector", {}), [each["key"] for each in pod.get("tolerations", [])])
        for name, pod in specs.items()
    }


def at(pool: str) -> Object:
    """A place, as a profile says it."""
    return {"nodeSelector": {"pool": pool}, "tolerations": [{"key": pool, "operator": "Exists"}]}


def test_every_pod_goes_where_the_profile_says_the_submitter_with_the_head_if_nothing_is_said_of_it() -> None:
    """O4."""
    nowhere: tuple[Object, list[Object]] = ({}, [])
    gpu, cpu, small = (({"pool": pool}, [pool]) for pool in ("gpu", "cpu", "small"))
    assert placed() == {"workers": nowhere, "head": nowhere, "submitter": nowhere}
    assert placed(**at("gpu")) == {"workers": gpu, "head": nowhere, "submitter": nowhere}
    assert placed(**at("gpu"), head=at("cpu")) == {"workers": gpu, "head": cpu, "submitter": cpu}
    assert placed(head=at("cpu"), submitter=at("small")) == {"workers": nowhere, "head": cpu, "submitter": small}
    assert placed(head=at("cpu"), submitter={"nodeSelector": {}, "tolerations": []})["submitter"] == nowhere


def test_every_pod_goes_to_nodes_of_the_images_architecture_unless_its_selector_names_another() -> None:
    """O4."""
    arm, both = ({"kubernetes.io/arch": arch} for arch in ("arm64", "amd64"))
    found = placed(architecture="arm64", head={"nodeSelector": both})
    assert {name: labels for name, (labels, _) in found.items()} == {"workers": arm, "head": both, "submitter": both}


def test_the_submitter_gets_what_the_profile_says() -> None:
    """O4: a LimitRange of the namespace may ask for more than our own defaults."""
    for by, wanted in (
        (profile(), {"cpu": "100m", "memory": "512Mi"}),
        (profile(submitter={"cpu": 1, "memory": "1e9"}), {"cpu": "1", "memory": "1e9"}),
    ):
        bounds = templates(ray_job(by=by))["submitter"]["spec"]["containers"][0]["resources"]
        assert bounds == {"requests": wanted, "limits": wanted}


def test_rays_object_store_fits_the_shared_memory() -> None:
    made = ray_job()
    for group in (
        made["spec"]["rayClusterSpec"]["headGroupSpec"],
        *made["spec"]["rayClusterSpec"]["workerGroupSpecs"],
    ):
        assert 0 < int(group["rayStartParams"]["object-store-memory"]) < amount("1Gi")
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        assert volumes["shared-memory"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
        assert volumes["scratch"]["emptyDir"] == {"sizeLimit": "10Gi"}


def shared_memory(workers: int, **by: Any) -> tuple[float, int]:
    """Of the workers' pods: /dev/shm, and what of it Ray keeps, in bytes."""
    (group,) = ray_job(by=profile(**by), resources__workers=workers)["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (volume,) = (each for each in group["template"]["spec"]["volumes"] if each["name"] == "shared-memory")
    return float(amount(volume["emptyDir"]["sizeLimit"])), int(group["rayStartParams"]["object-store-memory"])


def test_nccl_has_shared_memory_beside_rays_where_gpus_share_a_pod() -> None:
    """Ray got four fifths of 1Gi, and NCCL the 205 MiB that were left."""
    gib, several = 2**30, {"accelerator": {"memory": "80Gi"}, "workersPerPod": 8}
    size, kept = shared_memory(8, **several, worker={"memory": "64Gi"})
    assert size == 8 * gib
    assert size - kept >= 7 * gib
    assert shared_memory(2, **several, worker={"memory": "4Gi"})[0] == 4 * gib, "no more than half of the pod's memory"
    size, kept = shared_memory(8, **several, sharedMemorySize="6Gi", head={"memory": "16Gi"})
    assert (size, kept) == (6 * gib, 3 * gib)


@pytest.mark.parametrize(
    ("workers", "by"),
    [(1, {"accelerator": {"memory": "80Gi"}, "workersPerPod": 8}), (2, {"workersPerPod": 2})],
    ids=["a single GPU", "CPUs"],
)
def test_without_gpus_that_talk_to_each_other_shared_memory_is_rays(workers: int, by: Object) -> None:
    assert shared_memory(workers, **by) == (2**30, int(0.8 * 2**30))


def test_ray_counts_a_gpu_for_each_worker_whatever_its_resource_is_called() -> None:
    by = profile(**FULL | {"accelerator": {"resourceName": "example.com/a100", "memory": "80Gi"}})
    made = ray_job(by=by, resources__workers=5)["spec"]["rayClusterSpec"]
    counted = [group["rayStartParams"].get("num-gpus") for group in (made["headGroupSpec"], *made["workerGroupSpecs"])]
    assert counted == ["0", "4", "1"]
    on_cpus = ray_job(by=profile())["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert "num-gpus" not in on_cpus[0]["rayStartParams"]


@pytest.mark.parametrize("by", [{}, {"accelerator": {"memory": "80Gi"}}], ids=["CPUs", "GPUs"])
def test_a_run_knows_whether_its_profile_gives_each_worker_a_gpu(by: Object) -> None:
    run = Run.model_validate_json(applied("ConfigMap", name_of(1), by=profile(**by))["data"]["run.json"])
    assert run.needs_gpu == bool(by)


def test_a_run_knows_how_much_its_pods_may_have_on_their_disks() -> None:
    text = applied("ConfigMap", name_of(1), by=profile(scratchSize="200Gi"))["data"]["run.json"]
    assert Run.model_validate_json(text).scratch_bytes == 200 * 2**30


def test_ray_starts_with_the_least_shared_memory_of_a_profile() -> None:
    cluster = ray_job(by=profile(**FULL | {"sharedMemorySize": LEAST_SHARED_MEMORY}))["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert int(group["rayStartParams"]["object-store-memory"]) >= OBJECT_STORE_MINIMUM_MEMORY_BYTES


def test_every_pod_and_container_keeps_to_pod_securitys_restricted() -> None:
    for template in templates(ray_job(resources__workers=5)).values():
        spec = template["spec"]
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"}
        assert all(volume.keys() - {"name"} <= {"configMap", "emptyDir", "secret"} for volume in spec["volumes"])
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert all("hostPort" not in port for port in container.get("ports", []))


def test_no_container_can_write_to_its_image_and_each_can_where_its_variables_send_it() -> None:
    """S10: what a broken-into run could change ends with its pod, and nothing of it is a program of the image."""
    for name, template in templates(ray_job(resources__workers=5)).items():
        disks = {volume["name"] for volume in template["spec"]["volumes"] if "emptyDir" in volume}
        (container,) = template["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in disks}
        assert writable == ({"/tmp"} if name == "submitter" else {"/tmp", "/dev/shm"})
        assert all(mount.get("readOnly") for mount in container["volumeMounts"] if mount["name"] not in disks)
        folders = {item["value"] for item in container["env"] if item["name"] in ("HOME", "KUBETUNE_CACHE")}
        assert len(folders) == 2
        assert all(folder == "/tmp" or folder.startswith("/tmp/") for folder in folders)


def test_the_head_alone_has_a_token_for_the_api_server() -> None:
    for name, template in templates(ray_job()).items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is (name == "head")
        assert spec["serviceAccountName"] == ("kubetune-head" if name == "head" else "kubetune-worker")


def test_a_profiles_own_service_account_is_used_and_may_report() -> None:
    by = profile(serviceAccountName="cloud")
    assert {template["spec"]["serviceAccountName"] for template in templates(ray_job(by=by)).values()} == {"cloud"}
    assert applied("RoleBinding", REPORTS, by)["subjects"] == [
        {"kind": "ServiceAccount", "name": "cloud", "namespace": NAMESPACE}
    ]


def test_each_pod_is_told_its_cores_for_nodes_that_do_not_enforce_them() -> None:
    """N7"""
    for template in templates(ray_job()).values():
        container = template["spec"]["containers"][0]
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert int(variables["KUBETUNE_CORES"]) == ceil(amount(container["resources"]["limits"]["cpu"]))


def test_ray_is_asked_from_the_first_second_on_and_every_second_whether_it_is_ready() -> None:
    for role, template in templates(ray_job()).items():
        (container,) = template["spec"]["containers"]
        if role == "submitter":
            assert "readinessProbe" not in container
            continue
        probe = container["readinessProbe"]
        assert (probe["periodSeconds"], probe.get("initialDelaySeconds", 0)) == (1, 0)
        # KubeRay's own, for a Ray of this version: the agent's port, and ten failures that are five seconds apart.
        assert probe["httpGet"] == {"path": "/api/healthz", "port": 52365}
        assert probe["failureThreshold"] * probe["periodSeconds"] == 50
        # What ends a pod that hangs stays KubeRay's own.
        assert "livenessProbe" not in container


def test_secrets_are_read_only_volumes_each_once_and_never_variables() -> None:
    made = ray_job(credentials=SECRETS)
    for name, template in templates(made).items():
        secrets = [volume["secret"]["secretName"] for volume in template["spec"]["volumes"] if "secret" in volume]
        assert secrets == ([] if name == "submitter" else ["models", "data"])
        container = template["spec"]["containers"][0]
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert all(mounts[f"secret-{place}"]["readOnly"] for place in range(1, len(secrets) + 1))
        assert "envFrom" not in container
        assert all(variable.keys() == {"name", "value"} for variable in container["env"])


def test_the_key_that_signs_is_in_the_head_alone() -> None:
    by = profile(**FULL, signing={"secretName": "signing", "key": "models.pem"})
    for name, template in templates(ray_job(by=by)).items():
        (container,) = template["spec"]["containers"]
        mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "signing"]
        volumes = [volume["secret"] for volume in template["spec"]["volumes"] if volume["name"] == "signing"]
        if name == "head":
            assert mounts == [{"name": "signing", "mountPath": "/etc/kubetune/signing", "readOnly": True}]
            assert volumes == [{"secretName": "signing", "items": [{"key": "models.pem", "path": "key.pem"}]}]
        else:
            assert (mounts, volumes) == ([], [])
        assert "signing" not in json.dumps(container["env"])
    run = Run.model_validate_json(applied("ConfigMap", name_of(1), by)["data"]["run.json"])
    assert run.signing_key == "/etc/kubetune/signing/key.pem"
    assert Run.model_validate_json(applied("ConfigMap", name_of(1))["data"]["run.json"]).signing_key is None


def test_the_trainer_is_told_where_each_secret_lies() -> None:
    made = ray_job(credentials=SECRETS)
    run = Run.model_validate_json(applied("ConfigMap", name_of(1), credentials=SECRETS)["data"]["run.json"])
    container = templates(made)["head"]["spec"]["containers"][0]
    folders = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert [(one.prefix, one.folder) for one in run.credentials] == [
        ("s3://models", folders["secret-1"]),
        ("s3://data", folders["secret-2"]),
        ("hf://", folders["secret-1"]),
    ]


@pytest.mark.parametrize(
    ("by", "ambient", "accounts"),
    [
        pytest.param({}, False, [], id="without a ServiceAccount"),
        pytest.param({"serviceAccountName": "cloud"}, True, [], id="with workload identity"),
        pytest.param({"allowedStorageAccounts": ["company"]}, False, ["company"], id="with accounts"),
    ],
)
def test_the_trainer_asks_for_the_machines_identity_only_where_the_pods_have_one(
    by: Object, ambient: bool, accounts: list[str]
) -> None:
    """S5, S6."""
    config = applied("ConfigMap", name_of(1), profile(**by))
    run = Run.model_validate_json(config["data"]["run.json"])
    assert (run.ambient_credentials, run.allowed_storage_accounts) == (ambient, accounts)


def test_the_trainer_knows_where_the_base_of_an_adapter_may_lie() -> None:
    allowed = profile(allowedUriPrefixes=["s3://models", "s3://data", "s3://own/{namespace}/"])
    run = Run.model_validate_json(applied("ConfigMap", name_of(1), allowed)["data"]["run.json"])
    assert run.allowed_uri_prefixes == ["s3://models", "s3://data", f"s3://own/{run.job.metadata.namespace}/"]


def test_the_run_of_an_attempt_is_the_resolved_job_and_cannot_be_changed() -> None:
    config = applied("ConfigMap", name_of(1), resources__workers=3)
    assert config["immutable"] is True
    run = Run.model_validate_json(config["data"]["run.json"])
    assert (run.run_id, run.attempt, run.workers, run.execution) == (UID, 1, 3, None)
    assert run.report_to is not None
    assert (run.report_to.namespace, run.report_to.name) == (NAMESPACE, REPORTS)
    wanted = job(resources__workers=3, training__checkpoints={})
    as_wanted = FineTuneJob.model_validate({**wanted, "metadata": {"name": "reviews", "namespace": NAMESPACE}})
    assert run.job == as_wanted.resolved
    assert "status" not in json.loads(config["data"]["run.json"])["job"]


@pytest.mark.parametrize("method", [{"type": "LoRA"}, {"type": "LoRA", "lora": {"rank": 8, "dropout": 0.1}}])
def test_what_a_job_leaves_open_of_its_method_stays_open_for_the_adapter_that_it_may_name(method: Object) -> None:
    config = applied("ConfigMap", name_of(1), method=method)
    run = Run.model_validate_json(config["data"]["run.json"])
    assert run.job.spec.method == Method.model_validate(method)
    assert run.job.spec.training.learning_rate == run.job.resolved.spec.training.learning_rate, "all else is resolved"


def test_the_endpoints_of_a_profile_are_the_standard_variables() -> None:
    for name, template in templates(ray_job()).items():
        variables = {one["name"]: one["value"] for one in template["spec"]["containers"][0]["env"]}
        assert variables.pop("KUBETUNE_CORES").isdigit()
        if name == "rest":
            assert variables.pop("PYTORCH_CUDA_ALLOC_CONF")
        assert (variables.pop(STOP_VARIABLE, None) is None) == (name == "submitter")
        assert variables.pop("RAY_JOB_STOP_WAIT_TIME_S") == ("10" if name == "submitter" else "120")
        assert variables == {
            "HOME": "/tmp",
            "KUBETUNE_CACHE": "/tmp/kubetune-cache",
            "RAY_worker_niceness": "0",
            "AWS_ENDPOINT_URL_S3": "http://minio.storage.svc:9000",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "eu-1",
            "HF_ENDPOINT": "https://mirror.test",
        }


def test_every_store_has_an_endpoint_by_its_own_variable() -> None:
    """N11: Google's had none."""
    by = profile(endpoints=[{"scheme": scheme, "url": f"http://{scheme}.test"} for scheme in ("gs", "az")])
    variables = {one["name"]: one["value"] for one in templates(ray_job(by=by))["head"]["spec"]["containers"][0]["env"]}
    assert (variables["GOOGLE_BASE_URL"], variables["GOOGLE_ALLOW_HTTP"]) == ("http://gs.test", "true")
    assert (variables["AZURE_STORAGE_ENDPOINT"], variables["AZURE_ALLOW_HTTP"]) == ("http://az.test", "true")


def test_unencrypted_storage_is_allowed_only_where_the_profile_says_http() -> None:
    by = profile(endpoints=[{"scheme": "s3", "url": "https://s3.test"}, {"scheme": "az", "url": "https://az.test"}])
    variables = {one["name"] for one in templates(ray_job(by=by))["head"]["spec"]["containers"][0]["env"]}
    assert not variables & {"AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP"}


def test_image_and_how_it_is_fetched_come_from_the_profile() -> None:
    for template in templates(ray_job()).values():
        container = template["spec"]["containers"][0]
        assert (container["image"], container["imagePullPolicy"]) == ("trainer:1", "Always")
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_the_command_line_is_the_same_for_every_job_and_holds_nothing_of_it() -> None:
    """S7: but for the digest of the run, whose ConfigMap others can delete and make anew."""
    for spec in ({}, TEXTS):
        digest = hashlib.sha256(applied("ConfigMap", name_of(1), **spec)["data"]["run.json"].encode()).hexdigest()
        wanted = f"python -m kubetune_trainer /etc/kubetune/run/run.json --sha256 {digest}"
        assert ray_job(**spec)["spec"]["entrypoint"] == wanted
    for template in templates(ray_job(**TEXTS)).values():
        container = template["spec"]["containers"][0]
        assert not container.keys() & {"command", "args", "livenessProbe"}
        hook = {"preStop": {"exec": {"command": stop_hook(120)}}}
        assert container.get("lifecycle", hook) == hook


def test_no_text_of_a_manifest_stands_anywhere_but_in_the_run() -> None:
    texts = [text for value in TEXTS.values() for _, text in walk(value) if isinstance(text, str)]
    begun = plan(job(**TEXTS), profile(**FULL))
    assert begun.create is not None
    for thing in (*begun.apply, begun.create):
        shown = {key: value for key, value in thing.items() if key != "data"}
        found = [value for _, value in walk(shown) if isinstance(value, str)]
        assert not [text for text in texts if text != "SequenceClassification" and text in found]
    told = json.loads(begun.apply[-1]["data"]["run.json"])
    assert told["job"]["spec"]["model"]["uri"] == TEXTS["model__uri"]


def test_every_label_and_annotation_is_one_that_kubernetes_takes() -> None:
    spec: Object = {"queueName": "q" * 63, "priorityClassName": "p" * 63, "profileRef__name": "f" * 37}
    begun = plan(job(**spec), profile("f" * 37, **FULL, allowedPriorityClassNames=["p" * 63]))
    assert begun.create is not None
    for thing in (*begun.apply, begun.create):
        for path, value in walk(thing):
            if path.endswith(("labels", "matchLabels")):
                assert all(LABEL_VALUE.fullmatch(label) for label in value.values()), path


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"queueName": "a b"}, id="a queue with a space"),
        pytest.param({"queueName": "a\nb: c"}, id="a queue with a line break"),
        pytest.param({"queueName": "$(id)"}, id="a queue that is a command"),
        pytest.param({"queueName": "q" * 64}, id="a queue that is no label"),
        pytest.param({"queueName": "q", "priorityClassName": "../x"}, id="a priority that climbs"),
        pytest.param({"credentials": [{"prefix": "s3://", "secretName": "../token"}]}, id="a Secret that climbs"),
        pytest.param({"profileRef__name": "a/b"}, id="a profile that is a path"),
    ],
)
def test_a_name_that_the_api_server_would_refuse_makes_no_object(spec: dict[str, Any]) -> None:
    refused = plan(job(**spec))
    assert (refused.apply, refused.create, refused.status.reason) == ((), None, "InvalidManifest")


@pytest.mark.parametrize("name", ["Reviews", "1st", "a.b", "-a", "a-", "a" * 38, "a\n", "a b", "$(id)"])
def test_a_job_with_a_name_that_the_api_server_would_refuse_makes_no_object(name: str) -> None:
    seen = see(profile(), job(metadata={"name": name}), name=name)
    refused = reconcile(seen, SETTINGS, START)
    assert (refused.apply, refused.create, refused.status.reason) == ((), None, "InvalidManifest")


def test_the_heads_role_is_to_read_and_patch_one_config_map() -> None:
    assert applied("Role", REPORTS)["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [REPORTS], "verbs": ["get", "patch"]}
    ]
    binding = applied("RoleBinding", REPORTS)
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": REPORTS}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "kubetune-head", "namespace": NAMESPACE}]


def test_the_config_map_of_the_reports_is_named_without_data_which_is_the_heads() -> None:
    assert applied("ConfigMap", REPORTS).keys() == {"apiVersion", "kind", "metadata"}


def test_no_service_account_brings_its_token_by_itself() -> None:
    for name in ("kubetune-head", "kubetune-worker"):
        assert applied("ServiceAccount", name)["automountServiceAccountToken"] is False


def test_what_belongs_to_a_job_goes_with_it_and_what_is_shared_has_no_owner() -> None:
    begun = plan(job())
    owned = {thing["kind"] for thing in begun.apply if "ownerReferences" in thing["metadata"]}
    shared = {thing["kind"] for thing in begun.apply if "ownerReferences" not in thing["metadata"]}
    assert owned == {"ConfigMap", "Role", "RoleBinding"}
    assert shared == {"ServiceAccount", "NetworkPolicy"}
    assert all(names.JOB_UID not in thing["metadata"]["labels"] for thing in begun.apply if thing["kind"] in shared)


PODS = {"app.kubernetes.io/managed-by": "kubetune", "kubetune.dev/profile": "default"}
ANYWHERE = [
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"]}},
]
DNS = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": app}},
        }
        for app in ("kube-dns", "node-local-dns")
    ],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}


def policy(what: str, **spec: Any) -> Object:
    rules: Object = applied("NetworkPolicy", f"kubetune-default-{what}", profile(**spec))["spec"]
    return rules


def test_the_network_lets_in_the_jobs_own_pods_kuberay_and_prometheus_and_nobody_else() -> None:
    rules = policy("pods")
    assert rules["podSelector"] == {"matchLabels": PODS}
    assert rules["policyTypes"] == ["Ingress", "Egress"]
    assert rules["ingress"] == [
        {"from": [{"podSelector": {"matchLabels": PODS}}]},
        {
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-system"}}}],
            "ports": [{"protocol": "TCP", "port": 8265}],
        },
        {
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "ports": [{"protocol": "TCP", "port": 8080}],
        },
    ]


@pytest.mark.parametrize(
    ("spec", "outside"),
    [
        pytest.param({}, [{"to": ANYWHERE, "ports": [{"protocol": "TCP", "port": 443}]}], id="HTTPS by default"),
        pytest.param({"egress": []}, [], id="nothing where the profile names nothing"),
        pytest.param(
            {"egress": [{"cidr": "10.0.0.0/8", "ports": [443]}, {"cidr": "192.0.2.7/32", "ports": [9000, 9001]}]},
            [
                {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 443}]},
                {
                    "to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}],
                    "ports": [{"protocol": "TCP", "port": 9000}, {"protocol": "TCP", "port": 9001}],
                },
            ],
            id="what the profile names",
        ),
    ],
)
def test_the_network_lets_out_to_names_each_other_and_storage(spec: dict[str, Any], outside: list[Object]) -> None:
    assert policy("pods", **spec)["egress"] == [DNS, {"to": [{"podSelector": {"matchLabels": PODS}}]}, *outside]


def test_the_head_alone_may_reach_the_api_server_and_no_metadata_server() -> None:
    rules = policy("head", egress=[])
    assert rules["podSelector"] == {"matchLabels": {**PODS, "kubetune.dev/role": "head"}}
    assert rules["policyTypes"] == ["Egress"]
    ports = [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]
    assert rules["egress"] == [{"to": ANYWHERE, "ports": ports}]


def test_the_policies_select_the_pods_that_the_ray_job_makes() -> None:
    for name, template in templates(ray_job()).items():
        labels = template["metadata"]["labels"]
        assert PODS.items() <= labels.items()
        assert (labels["kubetune.dev/role"] == "head") == (name == "head")
