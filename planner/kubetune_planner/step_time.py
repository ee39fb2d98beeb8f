"""How long a step takes, so that of several ways to train the fastest is chosen.

It compares, and forecasts nothing: all is added up, although some of it overlaps, and the speeds are those of one
well-known machine, eight A100 of 80 GB.

Communication is that of the ZeRO paper (arXiv:1910.02054, section 7): gradients are summed up once a step at stages 0
and 1, once a micro-batch at stages 2 and 3, and stage 3 gathers the weights twice a micro-batch.
"""

from dataclasses import dataclass
from math import ceil

from kubetune_api.job import FineTuneJobSpec
from kubetune_planner.memory import labels_of, number_of
from kubetune_planner.methods import METHODS
from kubetune_planner.passes import passes_of
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision, stage_that_runs
from kubetune_planner.work import USED, work_of

GPUS_PER_NODE = 8
"""Where nothing else is said."""
_PEAK = {"FP32": 19.5e12, "BF16": 312e12, "FP16": 312e12}
"""Operations per second."""
_OWN_MEMORY = 2.0e12
"""Bytes per second of the accelerator's memory: each pass reads all weights."""
_WITHIN, _BETWEEN = 250e9, 25e9
"""Bytes per second of one accelerator to others of its node by NVLink, and to other nodes by a network of 200 Gb/s."""
_PCIE = 25e9
"""Bytes per second between an accelerator and main memory."""
_MAIN_MEMORY, _OF_A_STEP = 50e9, 28
"""Bytes per second of main memory for each worker, and bytes that a step of AdamW reads and writes a parameter."""


@dataclass(frozen=True)
class Spread:
    """How a training is spread."""

    stage: int
    workers: int
    micro_batch_size: int
    precision: Precision
    gpus_per_node: int = GPUS_PER_NODE


def step_seconds(shape: ModelShape, spec: FineTuneJobSpec, spread: Spread) -> float:
    """Seconds of a step: its operations, its reading of weights, its communication and its copies to main memory."""
    rows = ceil(spec.training.global_batch_size / spread.workers)
    passes = ceil(rows / spread.micro_batch_size)
    number, labels = number_of(spread.precision), labels_of(spec)
    trained = METHODS[spec.method.type](spec.method, shape, labels).parameters
    weights, gradients = number * shape.parameters_for(labels), number * trained
    again = spec.training.activation_checkpointing == "Full"
    work = work_of(shape, spec)
    operations = work.operations + (2 * work.backward if again else 0)
    computing = passes_of(shape, spec, rows, number).tokens * operations / (_PEAK[spread.precision] * USED)
    reading = (4 if again else 3) * weights * passes / _OWN_MEMORY
    speed = _WITHIN if spread.workers <= spread.gpus_per_node else _BETWEEN
    talking = _sent(spread, passes, weights, gradients) * (spread.workers - 1) / spread.workers / speed
    return computing + reading + talking + _offloading(spec, spread, passes, weights, trained)


def _sent(spread: Spread, passes: int, weights: int, gradients: int) -> int:
    """Bytes that each worker sends in a step."""
    match stage_that_runs(spread.precision, spread.stage):
        case 3:
            return passes * (2 * weights + gradients)
        case 2:
            return (passes + 1) * gradients
        case _:
            return 2 * gradients


def _offloading(spec: FineTuneJobSpec, spread: Spread, passes: int, weights: int, trained: int) -> float:
    """Seconds of copies over PCIe, and of the step on CPUs."""
    offload, share = spec.zero.offload, trained / spread.workers
    copied = on_cpus = 0.0
    if offload.optimizer == "CPU":
        copied += share * (4 * passes + number_of(spread.precision))
        on_cpus = share * _OF_A_STEP / _MAIN_MEMORY
    if offload.weights == "CPU":
        copied += 2 * passes * weights / spread.workers
    return copied / _PCIE + on_cpus
