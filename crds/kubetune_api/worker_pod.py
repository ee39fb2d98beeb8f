"""What a profile says of the workers' pods beyond cores and memory: what several nodes of GPUs need to talk to each
other without the kernel's TCP.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule, words
from kubetune_api.object_names import SUBDOMAIN, LabelKey, ObjectName
from kubetune_api.pods import PodResources
from kubetune_api.quantity import WHOLE, Whole, amount
from kubetune_api.tables import listed

_ALLOCATOR = "ALLOC_CONF"
VARIABLES = ("NCCL_", "FI_", "UCX_", "TORCH_NCCL_", "PYTORCH_")
"""What the names of a profile's variables begin with: of NCCL, libfabric, UCX and torch."""
HUGE_PAGES = "hugepages-"
_PAGE = "[1-9][0-9]{0,3}[KMG]i"
OWN_ACCELERATORS = ("nvidia.com/gpu", "nvidia.com/mig-", "amd.com/gpu")
"""What the names of accelerators begin with: a worker has one, which `spec.accelerator` names."""
HOSTNAME = "kubernetes.io/hostname"
"""A label of every node; where its value is not the node's name, nothing is avoided."""
OWN_ANNOTATIONS = ("cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt")
"""That whoever tidies up nodes is not to move the pod."""
_OWN_DOMAINS = ("kubetune.dev", "ray.io")
_OWN_KEYS = (
    f"^((.*[.])?({'|'.join(domain.replace('.', '[.]') for domain in _OWN_DOMAINS)})/.*|{'|'.join(OWN_ANNOTATIONS)})$"
)

_ResourceName = Annotated[
    str,
    StringConstraints(
        min_length=3,
        max_length=245,
        pattern=f"^({SUBDOMAIN}/[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?|{HUGE_PAGES}{_PAGE})$",
    ),
    Field(json_schema_extra=words("the name of an extended resource or of huge pages, as rdma/ib or hugepages-2Mi")),
]
_Annotations = Annotated[dict[LabelKey, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=16)]


def growing(names: Iterable[str]) -> dict[str, str]:
    """How torch takes memory of GPUs: batches differ in length, and segments that grow leave no holes between them.
    Whoever sets it among the variables of these names, by this or another one that torch knows, is heard."""
    said = any(name.endswith(_ALLOCATOR) for name in names)
    return {} if said else {f"PYTORCH_CUDA_{_ALLOCATOR}": "expandable_segments:True"}


def _alternatives(names: tuple[str, ...], of: str) -> str:
    return " || ".join(f"{of}.startsWith('{name}')" for name in names)


class Variable(ApiModel):
    """An environment variable, as in a pod's spec."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=128, pattern="^[A-Z][A-Z0-9_]*$"),
        Field(json_schema_extra=words("the name of a variable: capital letters, digits and `_`")),
    ]
    """Its name, which begins with `NCCL_`, `FI_`, `UCX_`, `TORCH_NCCL_` or `PYTORCH_`."""
    value: Annotated[str, StringConstraints(max_length=1024)]
    """Its value, always a text: `"1"` in quotes."""

    rules: ClassVar = (
        Rule(
            cel=_alternatives(VARIABLES, "self.name"),
            message="only variables of the libraries that connect GPUs are passed on; give a name that begins with"
            f" {listed(VARIABLES, 'or')}, or remove it",
            holds=lambda each: each.name.startswith(VARIABLES),
            field="name",
        ),
    )


class Affinity(ApiModel):
    """That the pods of an attempt are near each other."""

    topology_key: LabelKey
    """A label of nodes, such as that of a rack: the workers' pods go to nodes on which it has the same value."""
    required: bool = True
    """Whether a pod that finds no such node waits for one; false: it goes elsewhere."""

    rules: ClassVar = (
        Rule(
            cel=f"self.topologyKey != '{HOSTNAME}'",
            message="this would put all pods of a job onto one node; give the label of a rack, a block or a zone, and"
            " put workers onto one node by workersPerPod",
            holds=lambda affinity: affinity.topology_key != HOSTNAME,
            field="topologyKey",
        ),
    )


def _each_resource(cel: str) -> str:
    return f"!has(self.extraResources) || self.extraResources.all(name, {cel})"


def _whole_pages(value: str) -> str:
    """In CEL, that a number of bytes is a multiple of the page's size. Names and numbers of another form are the
    patterns' to refuse."""
    size = f"quantity(name.substring({len(HUGE_PAGES)})).asInteger()"
    pages = f"(!name.matches('^{HUGE_PAGES}{_PAGE}$') || quantity({value}).asInteger() % {size} == 0)"
    return (
        f"type({value}) == int ? {value} >= 1 && {value} <= 999999999 && !name.startsWith('{HUGE_PAGES}') :"
        f" !{value}.matches('{WHOLE}') ||"
        f" (name.startsWith('{HUGE_PAGES}') ? {value}.endsWith('i') && {pages} : !{value}.endsWith('i'))"
    )


class WorkerPod(PodResources):
    """What one worker gets, and what else its pod has: a fast network between nodes needs most of it."""

    extra_resources: Annotated[dict[_ResourceName, Whole], Field(max_length=16)] = Field({})
    """Other resources, as `vpc.amazonaws.com/efa`, `rdma/ib` or `hugepages-2Mi`, for each worker; requests and limits
    are the same."""
    env: Annotated[list[Variable], Field(max_length=32)] = Field([])
    """Environment variables of NCCL, libfabric, UCX and torch."""
    pod_annotations: _Annotations = Field({})
    """Annotations of the pods, such as those that name further networks."""
    runtime_class_name: ObjectName | None = None
    """The RuntimeClass of the pods. Unset: the cluster's default."""
    affinity: Affinity | None = None
    """Which nodes the pods of a job share. Unset: any."""
    lock_memory_as_root: bool = False
    """Runs the workers as root, with the one capability IPC_LOCK. RDMA locks memory, and where nodes limit that
    (`ulimit -l`) nobody else may. It leaves Pod Security's `restricted`, so the namespaces must admit `privileged`;
    better raise the limit of the nodes' container runtime."""

    rules: ClassVar = (
        *PodResources.rules,
        Rule(
            cel=_each_resource(
                "!name.startsWith('requests.') && !name.matches('^([^/]*[.])?kubernetes[.]io/')"
                f" && !({_alternatives(OWN_ACCELERATORS, 'name')})"
            ),
            message="Kubernetes reserves names that begin with `requests.` or are of the domain kubernetes.io, and a"
            " worker has one accelerator, which spec.accelerator names; remove these",
            holds=lambda worker: not any(_is_reserved(name) for name in worker.extra_resources),
            field="extraResources",
        ),
        Rule(
            cel=_each_resource(_whole_pages("self.extraResources[name]")),
            message="a resource is counted in whole ones, and huge pages in bytes; give huge pages a multiple of their"
            " size with its unit, such as 512Mi, and all others a number without one",
            holds=lambda worker: all(_is_whole(name, value) for name, value in worker.extra_resources.items()),
            field="extraResources",
        ),
        Rule(
            cel="!has(self.env) || self.env.all(one, self.env.exists_one(other, other.name == one.name))",
            message="a variable is there twice; remove one of them",
            holds=lambda worker: len({each.name for each in worker.env}) == len(worker.env),
            field="env",
        ),
        Rule(
            cel=f"!has(self.podAnnotations) || self.podAnnotations.all(key, !key.matches('{_OWN_KEYS}'))",
            message=f"kubetune itself sets annotations of {listed(_OWN_DOMAINS, 'and')}, and that no autoscaler moves"
            " the pod; remove them",
            holds=lambda worker: not any(_is_own(key) for key in worker.pod_annotations),
            field="podAnnotations",
        ),
    )


def _is_reserved(name: str) -> bool:
    domain = name.partition("/")[0]
    kubernetes = "/" in name and (domain == "kubernetes.io" or domain.endswith(".kubernetes.io"))
    return name.startswith(("requests.", *OWN_ACCELERATORS)) or kubernetes


def _is_whole(name: str, value: str) -> bool:
    if not name.startswith(HUGE_PAGES):
        return not value.endswith("i")
    return value.endswith("i") and amount(value) % amount(name.removeprefix(HUGE_PAGES)) == 0


def _is_own(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    ours = bool(slash) and any(domain == own or domain.endswith(f".{own}") for own in _OWN_DOMAINS)
    return ours or key in OWN_ANNOTATIONS
