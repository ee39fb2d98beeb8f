"""`FineTuneProfile`: what the platform team lets a job use. Cluster-scoped."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule, Uri, words
from kubetune_api.inherited import AllowedInheritedMetadata, InheritedMetadata, is_allowed
from kubetune_api.job import Credentials, FineTuneJob, ObjectMeta
from kubetune_api.quantity import Quantity, amount
from kubetune_api.schemes import WITH_ENDPOINT
from kubetune_api.selector import LabelKey, Labels, LabelSelector, LabelValue
from kubetune_api.tables import OneOf
from kubetune_api.uris import lies_below, uri_fields

DEFAULT_PROFILE = "default"
"""The profile of a job that names none."""
NAMESPACE = "{namespace}"
"""What stands for the job's namespace in the URIs of a profile."""
LEAST_SHARED_MEMORY = "100Mi"
"""Ray's object store gets four fifths of the shared memory, and Ray does not start with less than 75 MiB of it."""

_OBJECT_NAME = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
    Field(json_schema_extra=words("the name of an object: lowercase letters, digits, `-` and `.`")),
]
_CIDR = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"),
    Field(json_schema_extra=words("a range of addresses, such as 10.0.0.0/8")),
]


class Limits(ApiModel):
    """The most that one job may ask for."""

    max_workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """The most workers that a job may ask for. Unset: no limit."""
    max_active_deadline_seconds: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """The longest deadline that a job may set, in seconds; a job that sets none gets this one. Unset: no limit."""


class Accelerator(ApiModel):
    """The accelerator of one worker."""

    resource_name: Annotated[
        str,
        StringConstraints(min_length=3, max_length=317, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$"),
        Field(json_schema_extra=words("the name of an extended resource, such as nvidia.com/gpu")),
    ] = "nvidia.com/gpu"
    """The name under which the nodes offer it."""
    memory: Quantity
    """The memory of one, in bytes (`80Gi`); the planner uses it."""
    bf16: bool = True
    """Whether it computes in bfloat16: jobs are planned by it, and fail in BF16 on a GPU that does not."""


class PodResources(ApiModel):
    """What a pod asks for and gets: requests and limits are the same."""

    cpu: Quantity = "2"
    """Cores (`500m` is half a one)."""
    memory: Quantity = "8Gi"
    """Memory, in bytes."""


class HeadResources(PodResources):
    """What the head's pod asks for and gets."""

    cpu: Quantity = "1"
    """Cores (`500m` is half a one)."""
    memory: Quantity = "4Gi"
    """Memory, in bytes."""


class Toleration(ApiModel):
    """A taint that pods tolerate, as in a pod's spec."""

    key: LabelKey | None = None
    """The taint's key. Unset: every taint."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """`Exists` looks at the key alone."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Unset: every one."""


class Endpoint(ApiModel):
    """A server to use in place of the public one."""

    scheme: Annotated[str, OneOf(WITH_ENDPOINT)]
    """Which URIs are meant."""
    url: Annotated[
        str,
        StringConstraints(min_length=8, max_length=1024, pattern=r"^https?://[^@\s]+$"),
        Field(json_schema_extra=words("a URL without credentials, such as https://minio.storage.svc:9000")),
    ]
    """The server's URL; `http://` sends data and signatures unencrypted."""
    region: LabelValue | None = None
    """The region that requests are signed for (`s3`)."""


class Egress(ApiModel):
    """Where the pods may connect to, besides DNS and each other."""

    cidr: _CIDR
    """The range of addresses."""
    ports: Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(max_length=32)] = Field([])
    """The TCP ports. Empty: all."""


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
    inherited_metadata: InheritedMetadata = InheritedMetadata()
    """Labels and annotations for the RayJobs, pods and ConfigMaps of every job; they count before the job's own."""
    allowed_inherited_metadata: AllowedInheritedMetadata = AllowedInheritedMetadata()
    """The labels and annotations that a job may add."""
    limits: Limits = Limits()
    """The most that one job may ask for."""
    requires_queue: bool = False
    """Whether a job must name a Kueue queue, so that none goes past the quota."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[\w.:/@-]+$")] | None = None
    """The trainer's image. Unset: the one that the operator was installed with."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes fetch the image."""
    image_pull_secrets: Annotated[list[_OBJECT_NAME], Field(max_length=8)] = Field([])
    """Secrets of the job's namespace that open the image's registry."""
    accelerator: Accelerator | None = None
    """The resource of which each worker gets one. Unset: the workers compute on the CPU."""
    workers_per_pod: Annotated[int, Field(ge=1, le=64)] = 1
    """How many workers share a pod, and so a node and its fast links between accelerators. A job's pods have this many
    but for the last, which may have fewer."""
    worker: PodResources = PodResources()
    """What one worker gets; a pod gets it once for each of its workers."""
    head: HeadResources = HeadResources()
    """What the head gets, which reads the data and writes the report and trains nothing."""
    shared_memory_size: Quantity = "1Gi"
    """The size of `/dev/shm` of each pod, in bytes, part of its memory: Ray keeps the data there. At least `100Mi`."""
    scratch_size: Quantity = "50Gi"
    """The disk that each pod may fill, in bytes: the fetched model, and the trained one before it is uploaded."""
    node_selector: Labels = Field({})
    """The labels of the nodes that the workers go to."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field([])
    """The taints that workers tolerate."""
    credentials: Annotated[list[Credentials], Field(max_length=16)] = Field([])
    """Secrets for jobs that bring none of their own. Each is looked up in the job's namespace; `{namespace}` stands for
    that in the prefix."""
    service_account_name: _OBJECT_NAME | None = None
    """The ServiceAccount of the pods, in the job's namespace, where the cloud knows it (workload identity). Unset: one
    that kubetune makes, without any right but to report progress."""
    endpoints: Annotated[list[Endpoint], Field(max_length=8)] = Field([])
    """The servers of object storage and hub. A scheme that is not named has its public one."""
    egress: Annotated[list[Egress], Field(max_length=64)] | None = None
    """Where the pods may connect to, besides DNS, each other and (the head) the API server, which is anywhere on ports
    443 and 6443 unless the operator knows it. Unset: everywhere on port 443 but for link-local addresses, which
    the clouds' metadata servers have; an endpoint on another port, and workload identity that asks such a server, need
    an entry here."""

    rules: ClassVar = (
        Rule(
            # A text that is no quantity is the pattern's to refuse.
            cel=f"!isQuantity(self.sharedMemorySize) ||"
            f" quantity(self.sharedMemorySize).compareTo(quantity('{LEAST_SHARED_MEMORY}')) >= 0",
            message="this is too little for Ray's object store, which does not start with less than 75 MiB of its own;"
            f" give {LEAST_SHARED_MEMORY} or more",
            holds=lambda spec: amount(spec.shared_memory_size) >= amount(LEAST_SHARED_MEMORY),
            field="sharedMemorySize",
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

    def admits(self, namespace_labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels may use the profile."""
        return self.spec.namespace_selector.matches(namespace_labels)


def profile_name(job: FineTuneJob) -> str:
    """The profile that a job runs with in a cluster."""
    return job.spec.profile_ref.name or DEFAULT_PROFILE


Violation = tuple[str, object, str]
"""The field's path, its value, and a sentence with the rule's name."""


def violations(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    """What the profile forbids in the job, wherever it runs."""
    return [*_too_much(job, profile), *_out_of_bounds(job, profile), *_not_passed_on(job, profile)]


def _too_much(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    name, limits = profile.metadata.name, profile.spec.limits
    found: list[Violation] = []
    for path, asked, most, rule, what in (
        ("spec.resources.workers", job.spec.resources.workers, limits.max_workers, "maxWorkers", "workers"),
        (
            "spec.activeDeadlineSeconds",
            job.spec.active_deadline_seconds,
            limits.max_active_deadline_seconds,
            "maxActiveDeadlineSeconds",
            "seconds",
        ),
    ):
        if most is not None and asked is not None and asked > most:
            sentence = f"profile {name} (limits.{rule}) allows {most} {what} at most; ask for {most} or fewer"
            found.append((path, asked, sentence))
    return found


def _out_of_bounds(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    prefixes = [within(prefix, job.metadata.namespace) for prefix in profile.spec.allowed_uri_prefixes]
    if not prefixes:
        return []
    sentence = f"profile {profile.metadata.name} (allowedUriPrefixes) allows only URIs under {', '.join(prefixes)}"
    return [
        (path, uri, sentence)
        for path, uri, _ in uri_fields(job)
        if not any(lies_below(uri, prefix) for prefix in prefixes)
    ]


def _not_passed_on(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    asked, allowed = job.spec.inherited_metadata, profile.spec.allowed_inherited_metadata
    found: list[Violation] = []
    for what, keys, may in (
        ("labels", asked.labels, allowed.labels),
        ("annotations", asked.annotations, allowed.annotations),
    ):
        sentence = (
            f"profile {profile.metadata.name} (allowedInheritedMetadata.{what}) allows {', '.join(may) or 'none'};"
            " remove the others"
        )
        refused = [key for key in keys if not is_allowed(key, may)]
        found += [(f"spec.inheritedMetadata.{what}", ", ".join(refused), sentence)] if refused else []
    return found


def inherited(job: FineTuneJob, profile: FineTuneProfile) -> InheritedMetadata:
    """What the objects of a job get beside kubetune's own metadata; the profile's counts before the job's."""
    ours, its = profile.spec.inherited_metadata, job.spec.inherited_metadata
    return InheritedMetadata.model_construct(
        labels={**its.labels, **ours.labels}, annotations={**its.annotations, **ours.annotations}
    )


def within(prefix: str, namespace: str) -> str:
    """A prefix of a profile as it counts in a namespace."""
    return prefix.replace(NAMESPACE, namespace)
