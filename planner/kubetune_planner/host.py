"""What a training needs of the node beside the accelerators: main memory of each worker, and disk of each pod.

How weights get into memory, and what is copied there, says docs/planning.md. Files of the model are mapped: the workers
of a node share their pages, and the kernel takes them back where memory is short, so they are not counted. They are
assumed to be of 16 bits, as those of nearly all large models are.
"""

from dataclasses import dataclass
from math import ceil

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.profile import FineTuneProfile
from kubetune_api.quantity import amount
from kubetune_planner.memory import labels_of, number_of
from kubetune_planner.methods import METHODS
from kubetune_planner.offloaded import offloaded
from kubetune_planner.optimizers import STATE_BYTES
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision, bytes_per_parameter, model_states, stage_that_runs

BASE = 2 << 30
"""Python, torch, CUDA's libraries and the rows that are read: a round number."""
FILE_OF_MODEL = 4_000_000_000
"""Bytes: larger models are published in files of so many, one at a time of each rank."""
_STORED, _MASTER = 2, 4
_GIB = 1 << 30


@dataclass(frozen=True)
class HostNeed:
    """Bytes beside those of the accelerators."""

    memory: int
    """Of each worker, in its node's main memory."""
    disk: int
    """Of each pod."""
    workers: int
    """Of the pod."""


def host_need(
    shape: ModelShape, spec: FineTuneJobSpec, *, stage: int, workers: int, precision: Precision, workers_per_pod: int
) -> HostNeed:
    """The need of workers on accelerators, of which so many share a pod."""
    number, stage, labels = number_of(precision), stage_that_runs(precision, stage), labels_of(spec)
    parameters, trained = shape.parameters_for(labels), METHODS[spec.method.type](spec.method, shape, labels)
    of_optimizer, share = STATE_BYTES[spec.training.optimizer.type], ceil(trained.parameters / workers)
    cost = bytes_per_parameter(precision, stage, of_optimizer)
    states = model_states(cost, parameters=parameters, trained=trained.parameters, stage=stage, workers=workers)
    there = offloaded(spec.zero.offload, states, share, stage, number).in_main_memory
    largest = number * max(shape.layer_matrix, shape.embedding_matrix)
    # DeepSpeed packs what is trained in main memory at stages 1 and 2.
    loading = largest + (number * trained.parameters if stage in (1, 2) else 0)
    kept = 0
    if spec.training.kept == "Best":
        kept = number * (share if stage == 3 else trained.parameters)
    copied = (_MASTER + of_optimizer) * share if spec.training.checkpoints else 0
    published = number * (trained.parameters if spec.method.publishes_adapter else parameters)
    file, pod = min(published, FILE_OF_MODEL), min(workers, workers_per_pod)
    return HostNeed(
        memory=BASE + there + max(loading, kept + max(copied, file)),
        disk=_STORED * parameters + max(pod * copied, file if published <= FILE_OF_MODEL else pod * file),
        workers=pod,
    )


def too_small(need: HostNeed, profile: FineTuneProfile) -> str | None:
    """What of the profile is less than is needed, and what to set it to; None where nothing is."""
    spec, found = profile.spec, []
    if need.memory > amount(spec.worker.memory):
        found.append(
            f"a worker needs {gib(need.memory)} of its node's main memory, and worker.memory of profile"
            f" {profile.metadata.name} is {spec.worker.memory}; the platform team sets it to"
            f" {ceil(need.memory / _GIB)}Gi or more"
        )
    if need.disk > amount(spec.scratch_size):
        found.append(
            f"a pod needs {gib(need.disk)} of disk, and scratchSize of profile {profile.metadata.name} is"
            f" {spec.scratch_size}; the platform team sets it to {ceil(need.disk / _GIB)}Gi or more"
        )
    return f"The training does not fit its pods: {'; '.join(found)}." if found else None


def gib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / _GIB:.1f} GiB"
