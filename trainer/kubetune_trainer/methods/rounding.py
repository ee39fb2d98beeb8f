"""What storing in 16 bits may hide: small steps on the optimizer's 32-bit weights that round back to the beginning."""

from collections.abc import Mapping
from math import isinf

import torch
from torch import nn

from kubetune_api.reasons import Reason
from kubetune_planner.states import Precision
from kubetune_trainer.errors import RunError

_HALFWAY: Mapping[Precision, float] = {"BF16": 2.0**-8, "FP16": 2.0**-11}
"""How far the middle between two numbers is from the lower, as a share of it, at most; at least half of that."""
_AT_ONCE = 2**22
"""So many numbers of a weight are in 32 bits at a time."""
_FASTEST = 4.0
"""AdamW may move a weight by a few times its rate in one step."""


def hidden_by_rounding(model: nn.Module, reach: float, precision: Precision) -> frozenset[str]:
    """The trained parameters that may be stored as they were, where no weight moves further than about `reach`; all,
    where it is infinite, as nothing is known then. Never a matrix of zeros, as adapters begin: around 0
    the numbers are close.

    RunError (INVALID_MANIFEST) where it is certain that every matrix is: nothing would be learned.
    """
    trained = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    if isinf(reach):
        return frozenset(name for name, values in trained.items() if values.ndim == 1 or values.any())
    matrices = [values for values in trained.values() if values.ndim > 1]
    if matrices and all(_FASTEST * reach < _size(values, -torch.inf) * _HALFWAY[precision] / 2 for values in matrices):
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.training.learningRate: all steps together move no weight by more than about {reach:.1e}, which"
            f" {precision} rounds away; raise it, train for more steps, or set spec.training.precision to FP32",
        )
    return frozenset(
        name for name, values in trained.items() if reach < _size(values, 1) / values.numel() * _HALFWAY[precision]
    )


def _size(values: torch.Tensor, order: float) -> float:
    """The sum (1) or the smallest (-inf) of the absolute values."""
    parts = torch.split(values.reshape(-1), _AT_ONCE)
    of_each = [float(torch.linalg.vector_norm(part.float(), ord=order)) for part in parts]
    return sum(of_each) if order > 0 else min(of_each)
