"""The model states: weights, gradients, optimizer. The accounting of the ZeRO paper (Rajbhandari et al. 2020,
arXiv:1910.02054, section 3.1 and figure 1): bytes per parameter, each kind divided by the workers from its stage on.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

Precision = Literal["FP32", "BF16", "FP16"]


@dataclass(frozen=True)
class BytesPerParameter:
    """What one parameter costs before anything is spread."""

    weight: int
    gradient: int
    optimizer: int
    """The optimizer's states, and the 32-bit weights where they are kept apart: the paper's K."""


@dataclass(frozen=True)
class ModelStates:
    """Bytes on one worker."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """All three."""
        return self.weights + self.gradients + self.optimizer


def bytes_per_parameter(precision: Precision, stage: int, state_bytes: int) -> BytesPerParameter:
    """What DeepSpeed keeps for each parameter under the trainer's configuration, which sums gradients in 32 bits.

    `state_bytes` is what the optimizer keeps for it. FP32: at stage 0 torch's optimizer works on the weights
    themselves; from stage 1 on DeepSpeed keeps a 32-bit copy of them even where they have 32 bits already. BF16: at
    stages 0 and 1 (the same there) gradients stand in both precisions; from stage 2 on those of 16 bits live in the
    reduction's buckets only. FP16 is as BF16.
    """
    if precision == "FP32":
        return BytesPerParameter(weight=4, gradient=4, optimizer=state_bytes + (4 if stage else 0))
    return BytesPerParameter(weight=2, gradient=6 if stage <= 1 else 4, optimizer=state_bytes + 4)


def precision_that_runs(wanted: Precision | Literal["Auto"], *, has_bf16: bool) -> Precision:
    """The precision that runs where `wanted` is asked for: `Auto` is BF16 on a GPU that computes in it, FP32 elsewhere.

    `has_bf16` is False of a CPU: few have instructions for bfloat16, and without them it is slower.
    """
    if wanted == "Auto":
        return "BF16" if has_bf16 else "FP32"
    return wanted


def stage_that_runs(precision: Precision, stage: int) -> int:
    """The stage that runs where `stage` is asked for: DeepSpeed has no stage 0 in 16 bits that sums gradients in 32,
    and stage 1 computes the same."""
    return stage if precision == "FP32" else max(stage, 1)


def model_states(cost: BytesPerParameter, *, parameters: int, trained: int, stage: int, workers: int) -> ModelStates:
    """The states of one worker. Frozen parameters have weights and nothing else.

    Per stage, with N workers: 1 divides the optimizer's states by N, 2 also the gradients, 3 also the weights.
    """
    return ModelStates(
        weights=_share(cost.weight * parameters, workers if stage >= 3 else 1),
        gradients=_share(cost.gradient * trained, workers if stage >= 2 else 1),
        optimizer=_share(cost.optimizer * trained, workers if stage >= 1 else 1),
    )


def _share(total: int, workers: int) -> int:
    return ceil(total / workers)
