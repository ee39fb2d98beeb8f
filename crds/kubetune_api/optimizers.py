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


OPTIMIZERS: dict[str, OptimizerRow] = {
    "AdamW": OptimizerRow(
        does="divides the mean of the gradients by the root of the mean of their squares (arXiv:1711.05101)",
        defaults={"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    ),
}
"""By the name that `training.optimizer.type` has."""
