"""How gradients become steps: one row for each optimizer. The CRD's enumeration, rules and defaults follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer."""

    does: str
    """The optimizer in a sentence, for the API's page."""
    defaults: Mapping[str, float]
    """Its settings, by their attributes in `training.optimizer`, with the values where the manifest does not say. It
    has no other."""
    rate: float = 1.0
    """How many times the method's learning rate is its own, where the manifest does not say."""
    bounded: bool = True
    """Whether a step moves a weight by about the learning rate at most, whatever the gradients are."""
    equal_steps: bool = False
    """Whether all weights make steps of one size, so that a few may come back to where they began."""
    whole_matrices: bool = False
    """Whether it needs each weight in one piece. DeepSpeed cuts them from ZeRO stage 1 on, and in any other precision
    than FP32: it runs at stage 0 in FP32 only."""


OPTIMIZERS: dict[str, OptimizerRow] = {
    "AdamW": OptimizerRow(
        does="divides the mean of the gradients by the root of the mean of their squares (arXiv:1711.05101)",
        defaults={"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    ),
    "Adam": OptimizerRow(
        does="does the same, with `weightDecay` as a part of the gradient (arXiv:1412.6980)",
        defaults={"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    ),
    "Adafactor": OptimizerRow(
        does="keeps the squares of a matrix as a row and a column, and scales each step by the size of the weights"
        " (arXiv:1804.04235); whole matrices only, so ZeRO stage 0 in FP32",
        defaults={"weight_decay": 0.0},
        rate=50.0,
        whole_matrices=True,
    ),
    "Lion": OptimizerRow(
        does="steps by the sign of a mean of the gradients, and keeps half of what AdamW does (arXiv:2302.06675)",
        defaults={"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0},
        rate=0.1,
        equal_steps=True,
    ),
    "Muon": OptimizerRow(
        does="makes the mean of the gradients of each hidden matrix orthogonal, at the rates of AdamW, which trains"
        " embeddings, norms, biases and heads (arXiv:2502.16982); whole matrices only, so ZeRO stage 0 in FP32",
        defaults={"momentum": 0.95, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
        whole_matrices=True,
    ),
    "SGD": OptimizerRow(
        does="steps along a running sum of the gradients, with `weightDecay` as a part of them",
        defaults={"momentum": 0.9, "weight_decay": 0.0},
        rate=500.0,
        bounded=False,
    ),
}
"""By the name that `training.optimizer.type` has."""


def rate_of(optimizer: str, method_rate: float) -> float:
    """The highest learning rate where the manifest does not say, from that of the method."""
    return float(f"{method_rate * OPTIMIZERS[optimizer].rate:.6g}")
