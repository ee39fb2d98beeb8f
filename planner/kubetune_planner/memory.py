"""What one worker of a training needs, in bytes of its accelerator's memory."""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Literal

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.tasks import TASKS
from kubetune_planner.buffers import Reduction, gathered
from kubetune_planner.methods import METHODS
from kubetune_planner.offloaded import offloaded
from kubetune_planner.optimizers import STATE_BYTES
from kubetune_planner.passes import passes_of
from kubetune_planner.quantized import saved_bytes
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision, bytes_per_parameter, model_states, stage_that_runs

CUDA_CONTEXT = 1 << 30
"""What is gone before the first tensor: CUDA's context and kernels, cuBLAS' workspace, NCCL's channels. They take some
0.5 to 0.9 GiB, and differ between driver versions; this is the round number above."""
UNKNOWN_LABELS = 2
"""Labels of a classification that does not name them; a head's size is next to nothing."""

Device = Literal["cuda", "cpu"]


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one worker at the peak of a step."""

    weights: int
    gradients: int
    optimizer: int
    """Its states, and 32-bit weights."""
    activations: int
    """What the forward pass keeps, and the logits."""
    buffers: int
    """DeepSpeed's buckets and copies, as far as they find no room in what the activations leave."""
    overhead: int
    """What the accelerator's own libraries take."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())

    @property
    def largest(self) -> str:
        """The name of the largest part."""
        parts: dict[str, int] = asdict(self)
        return max(parts, key=parts.__getitem__)


def estimate(
    shape: ModelShape,
    job_spec: FineTuneJobSpec,
    *,
    stage: int,
    workers: int,
    micro_batch_size: int,
    precision: Precision,
    device: Device = "cuda",
) -> MemoryEstimate:
    """The need of one of `workers` workers, for passes of `micro_batch_size` rows as long as the job allows.

    Model states: `states.py` (ZeRO, arXiv:1910.02054). Activations: `activations.py` (arXiv:2205.05198).
    Buffers: `buffers.py` (DeepSpeed's sources). On CPUs, what is offloaded is in the same memory as everything else.
    """
    number, stage = number_of(precision), stage_that_runs(precision, stage)
    labels = labels_of(job_spec)
    parameters, trained = shape.parameters_for(labels), METHODS[job_spec.method.type](job_spec.method, shape, labels)
    cost = bytes_per_parameter(precision, stage, STATE_BYTES[job_spec.training.optimizer.type])
    states = model_states(cost, parameters=parameters, trained=trained.parameters, stage=stage, workers=workers)
    share = ceil(trained.parameters / workers)
    lie = offloaded(job_spec.zero.offload, states, share, stage, number)
    passes = passes_of(shape, job_spec, micro_batch_size, number)
    activations = passes.peak_bytes(kept_layers=trained.kept_layers, language_model=labels is None)
    # Of layers that are computed again, one at a time has its adapter's.
    activations += passes.tokens * trained.beside(number) // (shape.layers if passes.again else 1)
    accumulates = job_spec.training.global_batch_size > workers * micro_batch_size
    reduction = Reduction(trained.parameters, trained.largest, precision, workers, accumulates, device == "cuda")
    buffers = reduction.buffers(stage)
    whole = number * gathered(parameters, max(shape.layer_matrix, shape.embedding_matrix)) if stage == 3 else 0
    return MemoryEstimate(
        weights=lie.on_accelerator.weights + whole - saved_bytes(job_spec.method, shape, number),
        gradients=lie.on_accelerator.gradients,
        optimizer=lie.on_accelerator.optimizer + (lie.in_main_memory if device == "cpu" else 0),
        activations=activations,
        buffers=max(buffers.in_backward, buffers.after_backward - activations - whole),
        overhead=CUDA_CONTEXT if device == "cuda" else 0,
    )


def number_of(precision: Precision) -> int:
    """The bytes of one number."""
    return 4 if precision == "FP32" else 2


def labels_of(spec: FineTuneJobSpec) -> int | None:
    """How many labels the head has; None for a language model, 0 where there is no head but the model's own pooler."""
    output = TASKS[spec.task.type].output
    if output != "Labels":
        return None if output == "Vocabulary" else 0
    return UNKNOWN_LABELS if spec.task.labels is None else len(spec.task.labels)
