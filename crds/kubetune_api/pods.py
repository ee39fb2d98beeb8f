"""What a profile says of pods: what they get, and onto which nodes they may go."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kubetune_api.accelerators import ACCELERATORS
from kubetune_api.base import ApiModel, Rule
from kubetune_api.object_names import LabelKey, Labels, LabelValue, ResourceName
from kubetune_api.quantity import Quantity, at_least
from kubetune_api.tables import OneOf

_UNIT_FORGOTTEN = "a number without a unit is in bytes"


_OF_OTHERS = (
    "amd.com/",
    "aws.amazon.com/neuron",
    "google.com/tpu",
    "gpu.intel.com/",
    "habana.ai/",
)
"""What the names of accelerators begin with on which torch for CUDA does not compute."""
_PART, _SHARED = "nvidia.com/mig-", ".shared"
"""Of a part of a GPU, and of one that several containers take in turns."""


class Accelerator(ApiModel):
    """The accelerator of one worker."""

    resource_name: ResourceName = "nvidia.com/gpu"
    """The name under which the nodes offer it."""
    memory: Quantity
    """The memory of one, in bytes (`80Gi`); the planner uses it."""
    bf16: bool = True
    """Whether it computes in bfloat16: jobs are planned by it, and fail in BF16 on a GPU that does not."""
    model: Annotated[str, OneOf(ACCELERATORS)] | None = None
    """What it is: `kubetune plan --compare` estimates hours by its published peak. Unset: `--accelerator` says it."""
    price_per_hour: Annotated[float, Field(ge=0, le=1000000)] | None = None
    """The price of one, per hour in a currency of your own; `kubetune plan --compare` estimates cost by it. Unset:
    `--price` says it."""

    rules: ClassVar = (
        Rule(
            cel="!self.resourceName.startsWith('requests.') && !self.resourceName.contains('kubernetes.io/')",
            message="Kubernetes reserves names that begin with `requests.` or are of the domain kubernetes.io; give the"
            " name that the nodes' device plugin uses, such as nvidia.com/gpu",
            holds=lambda accelerator: (
                not accelerator.resource_name.startswith("requests.")
                and "kubernetes.io/" not in accelerator.resource_name
            ),
            field="resourceName",
        ),
        Rule(
            cel="!(" + " || ".join(f"self.resourceName.startsWith('{name}')" for name in _OF_OTHERS) + ")",
            message="the trainer's torch is built for CUDA, so it computes on NVIDIA's GPUs alone; give a resource of"
            " theirs, such as nvidia.com/gpu",
            holds=lambda accelerator: not accelerator.resource_name.startswith(_OF_OTHERS),
            field="resourceName",
        ),
        at_least("memory", "1Gi", f"no accelerator has so little memory, and {_UNIT_FORGOTTEN}"),
    )

    @property
    def is_part(self) -> bool:
        """Whether two of them may be one GPU, which NCCL does not connect with itself."""
        return self.resource_name.startswith(_PART) or self.resource_name.endswith(_SHARED)


class PodResources(ApiModel):
    """What a pod asks for and gets: requests and limits are the same."""

    cpu: Quantity = "2"
    """Cores (`500m` is half a one)."""
    memory: Quantity = "8Gi"
    """Memory, in bytes. At least `512Mi`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        at_least("cpu", "1m", "Kubernetes divides a core into thousandths"),
        at_least("memory", "512Mi", f"Python and Ray need more memory than this, and {_UNIT_FORGOTTEN}"),
    )


class Toleration(ApiModel):
    """A taint that pods tolerate, as in a pod's spec."""

    key: LabelKey | None = None
    """The taint's key. Unset: every taint, and `operator` is `Exists`."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """`Exists` looks at the key alone."""
    value: LabelValue | None = None
    """The taint's value, for `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Unset: every one."""

    rules: ClassVar = (
        Rule(
            cel="has(self.key) || self.operator == 'Exists'",
            message="without a key, every taint is tolerated, which Kubernetes wants to be said by `Exists`; set"
            " `operator: Exists`, or name the taint's key",
            holds=lambda each: each.key is not None or each.operator == "Exists",
            field="operator",
        ),
        Rule(
            cel="self.operator != 'Exists' || !has(self.value) || self.value == ''",
            message="`Exists` looks at the key alone; remove the value, or set `operator: Equal`",
            holds=lambda each: each.operator != "Exists" or not each.value,
            field="value",
        ),
    )


Tolerations = Annotated[list[Toleration], Field(max_length=16)]


class HeadPod(PodResources):
    """What the head's pod asks for and gets, and where it may go."""

    cpu: Quantity = "1"
    """Cores (`500m` is half a one)."""
    memory: Quantity = "4Gi"
    """Memory, in bytes. At least `512Mi`."""
    node_selector: Labels = Field({})
    """The labels of the nodes that the head goes to."""
    tolerations: Tolerations = Field([])
    """The taints that the head tolerates."""


class SubmitterPod(PodResources):
    """What the submitter's pod asks for and gets, and where it may go."""

    cpu: Quantity = "100m"
    """Cores (`500m` is half a one)."""
    memory: Quantity = "512Mi"
    """Memory, in bytes. At least `512Mi`."""
    node_selector: Labels | None = None
    """The labels of the nodes that the submitter goes to. Unset: those of the head."""
    tolerations: Tolerations | None = None
    """The taints that the submitter tolerates. Unset: those of the head."""
