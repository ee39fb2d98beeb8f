"""`FineTuneProfile`: what the platform team lets a job use. Cluster-scoped."""

from hashlib import sha256
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule, Uri, words
from kubetune_api.inherited import AllowedInheritedMetadata, InheritedMetadata
from kubetune_api.job import Credentials, FineTuneJob, ObjectMeta
from kubetune_api.job.names import QueueName, SecretName
from kubetune_api.network import METADATA_SERVERS, Egress, Endpoint, names_metadata_server
from kubetune_api.object_names import Labels, ObjectName
from kubetune_api.pods import Accelerator, HeadPod, SubmitterPod, Tolerations
from kubetune_api.quantity import Quantity, amount, at_least, in_cel
from kubetune_api.schemes import STORAGE_ACCOUNT
from kubetune_api.selector import LabelSelector
from kubetune_api.worker_pod import WorkerPod

DEFAULT_PROFILE = "default"
"""The profile of a job that names none."""
NAMESPACE = "{namespace}"
"""What stands for the job's namespace in the URIs of a profile."""
LEAST_SHARED_MEMORY = "100Mi"
"""Ray's object store gets four fifths of the shared memory, and Ray does not start with less than 75 MiB of it."""
SHARED_MEMORY = "1Gi"
"""Of a pod in which no GPUs talk to each other."""
_METADATA_SERVER = " || ".join(f"cidr('{server}').containsCIDR(each.cidr)" for server in METADATA_SERVERS)

_StorageAccount = Annotated[
    str,
    StringConstraints(max_length=24, pattern=f"^{STORAGE_ACCOUNT}$"),
    Field(json_schema_extra=words("the name of a storage account: 3 to 24 lowercase letters and digits")),
]


_SecretKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$"),
    Field(json_schema_extra=words("the name of a key in a Secret: letters, digits, `-`, `_` and `.`")),
]


class Limits(ApiModel):
    """The most that one job may ask for."""

    max_workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """The most workers that a job may ask for. Unset: no limit."""
    max_active_deadline_seconds: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """The longest deadline that a job may set, in seconds; a job that sets none gets this one. Unset: no limit."""


class Signing(ApiModel):
    """The key that the models of a profile's jobs are signed with."""

    secret_name: SecretName
    """A Secret in the job's namespace; only the head, which publishes, gets it. Neither this profile nor a job
    of it may name it in `credentials`."""
    key: _SecretKey = "signing.pem"
    """Which key of the Secret holds the private key: ECDSA on P-256, P-384 or P-521, in PEM, without a passphrase."""


def _has_shared_memory(pod: str) -> Rule:
    """Of one worker, however many a pod may hold: that of a job with a single one has no more."""
    shared, memory = in_cel("self.sharedMemorySize", otherwise=0), in_cel(f"self.{pod}.memory", otherwise=1e30)
    unset = f"{amount(SHARED_MEMORY):f}.0"
    return Rule(
        cel=f"(has(self.sharedMemorySize) ? {shared} : {unset}) < {memory}",
        message=f"the shared memory is part of the pod's memory; give {pod}.memory more than sharedMemorySize",
        holds=lambda spec: amount(spec.shared_memory_size or SHARED_MEMORY) < amount(getattr(spec, pod).memory),
        field=f"{pod}.memory",
    )


class FineTuneProfileSpec(ApiModel):
    """What a job of this profile may use."""

    description: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """What the profile is for, in one sentence for its users."""
    namespace_selector: LabelSelector = LabelSelector()
    """Which namespaces may use the profile, by their labels; each has its name under `kubernetes.io/metadata.name`.
    Empty: all."""
    allowed_uri_prefixes: Annotated[list[Uri], Field(max_length=64)] = Field([])
    """Where a job's model, datasets and output may lie: each URI is one of these or lies below one, after a `/`, so
    that `s3://team-a` (the same as `s3://team-a/`) admits `s3://team-a/x` and not `s3://team-b` or `s3://team-a-old`.
    `s3://` is all of S3, and `{namespace}` stands for the job's namespace. Empty: anything, but for `file://` in a
    cluster, which is the pod's own disk."""
    allowed_output_prefixes: Annotated[list[Uri], Field(max_length=64)] = Field([])
    """The prefixes below which jobs may write; `{namespace}` is the job's, and what jobs share stays read-only. Empty:
    `allowedUriPrefixes` hold for outputs, too."""
    inherited_metadata: InheritedMetadata = InheritedMetadata()
    """Labels and annotations for the RayJobs, pods and ConfigMaps of every job; they count before the job's own."""
    allowed_inherited_metadata: AllowedInheritedMetadata = AllowedInheritedMetadata()
    """The labels and annotations that a job may add."""
    limits: Limits = Limits()
    """The most that one job may ask for."""
    allowed_priority_class_names: Annotated[list[QueueName], Field(max_length=16)] = Field([])
    """The values of `priorityClassName` that a job may have: a higher one evicts the jobs of others from the quota.
    Empty: none."""
    requires_queue: bool = False
    """Whether a job must name a Kueue queue, so that none goes past the quota."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern="^[A-Za-z0-9_.:/@-]+$")] | None = None
    """The trainer's image. Unset: the one that the operator was installed with."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes fetch the image."""
    image_pull_secrets: Annotated[list[ObjectName], Field(max_length=8)] = Field([])
    """Secrets of the job's namespace that open the image's registry."""
    accelerator: Accelerator | None = None
    """The resource of which each worker gets one. Unset: the workers compute on the CPU."""
    workers_per_pod: Annotated[int, Field(ge=1, le=64)] = 1
    """How many workers share a pod, and so a node and its fast links between accelerators. A job's pods have this many
    but for the last, which may have fewer."""
    worker: WorkerPod = WorkerPod()
    """What one worker gets; a pod gets it once for each of its workers. And what else the workers' pods have."""
    head: HeadPod = HeadPod()
    """What the head gets, which reads the data and writes the report and trains nothing, and where it may go."""
    submitter: SubmitterPod = SubmitterPod()
    """What the submitter gets, which hands the run to Ray and waits for its end, and where it may go."""
    shared_memory_size: Quantity | None = None
    """The size of `/dev/shm` of each pod, in bytes, part of its memory: Ray keeps the data there, and NCCL connects
    GPUs of a pod by it. At least `100Mi`, and less than the memory of head and worker. Unset: `1Gi`; for a pod with
    several accelerators `8Gi`, but no more than half of its memory."""
    scratch_size: Quantity = "50Gi"
    """The disk that each pod may fill, in bytes: the fetched model, and the trained one before it is uploaded. At
    least `1Gi`."""
    architecture: Literal["amd64", "arm64"] | None = None
    """The processors that the image is for: pods go only to nodes with this `kubernetes.io/arch`, unless a
    `nodeSelector` names another. Unset: any, for an image of several."""
    node_selector: Labels = Field({})
    """The labels of the nodes that the workers go to."""
    tolerations: Tolerations = Field([])
    """The taints that workers tolerate."""
    credentials: Annotated[list[Credentials], Field(max_length=16)] = Field([])
    """Secrets for jobs that bring none of their own. Each is looked up in the job's namespace; `{namespace}` stands for
    that in the prefix."""
    allowed_storage_accounts: Annotated[list[_StorageAccount], Field(max_length=16)] = Field([])
    """The Azure storage accounts that a Secret may name, for an `az://` URI names its container alone. Empty: any."""
    signing: Signing | None = None
    """What signs the models, in the format of OpenSSF model signing. Unset: they are not signed."""
    service_account_name: ObjectName | None = None
    """The ServiceAccount of the pods, in the job's namespace, where the cloud knows it (workload identity). Unset: one
    that kubetune makes, without any right but to report progress; then each store needs a Secret."""
    endpoints: Annotated[list[Endpoint], Field(max_length=8)] = Field([])
    """The servers of object storage and hub. A scheme that is not named has its public one."""
    egress: Annotated[list[Egress], Field(max_length=64)] | None = None
    """Where the pods may connect to, besides DNS, each other and (the head) the API server, which is anywhere on ports
    443 and 6443 unless the operator knows it. Unset: everywhere on port 443 but for link-local addresses. An endpoint
    on another port needs an entry here. The clouds' metadata servers are open to nobody; workload identity that asks
    one needs an entry with its address alone, beside `serviceAccountName`."""

    rules: ClassVar = (
        at_least(
            "sharedMemorySize",
            LEAST_SHARED_MEMORY,
            "this is too little for Ray's object store, which does not start with less than 75 MiB of its own",
        ),
        at_least("scratchSize", "1Gi", "no model fits into so little, and a number without a unit is in bytes"),
        *(_has_shared_memory(pod) for pod in ("head", "worker")),
        Rule(
            cel="self.workersPerPod == 1 || !has(self.accelerator) ||"
            " !(self.accelerator.resourceName.startsWith('nvidia.com/mig-') ||"
            " self.accelerator.resourceName.endsWith('.shared'))",
            message="a job has one worker where that gets a part of a GPU, as NCCL does not connect two parts of one;"
            " set workersPerPod to 1",
            holds=lambda spec: spec.workers_per_pod == 1 or spec.accelerator is None or not spec.accelerator.is_part,
            field="workersPerPod",
        ),
        Rule(
            # The API server judges the default {} of the group before it fills it in.
            cel="!has(self.accelerator) || !has(self.worker.extraResources) ||"
            " !(self.accelerator.resourceName in self.worker.extraResources)",
            message="each worker has one accelerator, which accelerator.resourceName names; remove it from"
            " worker.extraResources",
            holds=lambda spec: (
                spec.accelerator is None or spec.accelerator.resource_name not in spec.worker.extra_resources
            ),
            field="worker",
        ),
        Rule(
            cel="has(self.serviceAccountName) || !has(self.egress) || !self.egress.exists(each, isCIDR(each.cidr) &&"
            f" ({_METADATA_SERVER}))",
            message="a cloud's metadata server gives the credentials of the machine to every pod that reaches it;"
            " remove its address, or set serviceAccountName, if workload identity asks it",
            holds=lambda spec: spec.service_account_name is not None or not names_metadata_server(spec.egress),
            field="egress",
        ),
        Rule(
            cel="!has(self.signing) || !self.credentials.exists(each, each.secretName == self.signing.secretName)",
            message="every pod of a job has its credentials, and the key in this Secret is for the head alone; give the"
            " store a Secret of its own",
            holds=lambda spec: (
                spec.signing is None or all(each.secret_name != spec.signing.secret_name for each in spec.credentials)
            ),
            field="credentials",
        ),
    )


class FineTuneProfile(ApiModel):
    """What a job may use and where it runs: hardware, images, storage, network. The platform team writes it."""

    api_version: Literal["kubetune.dev/v1alpha1"]
    """The version of the API."""
    kind: Literal["FineTuneProfile"]
    """The kind of the object."""
    metadata: ObjectMeta
    """The object's name, labels and annotations."""
    spec: FineTuneProfileSpec
    """What a job of this profile may use."""

    @property
    def digest(self) -> str:
        """Stands for what the spec says: a changed one has another, a newer version of kubetune none."""
        spec = self.spec
        if spec.shared_memory_size == SHARED_MEMORY:
            # An earlier version wrote this into every profile that did not say.
            spec = spec.model_copy(update={"shared_memory_size": None})
        said = spec.model_dump_json(by_alias=True, exclude_defaults=True)
        return sha256(said.encode()).hexdigest()[:16]


def profile_name(job: FineTuneJob) -> str:
    """The profile that a job runs with in a cluster."""
    return job.spec.profile_ref.name or DEFAULT_PROFILE


def within(prefix: str, namespace: str) -> str:
    """A prefix of a profile as it counts in a namespace."""
    return prefix.replace(NAMESPACE, namespace)
