"""What Muon trains of a model, and how it shares the rest with another optimizer."""

from typing import Any

import torch
from torch import nn

from kubetune_api.families import HEADS


def hidden_matrices(model: nn.Module) -> set[nn.Parameter]:
    """The matrices between embeddings and heads (Jordan et al. 2024: those of both are better off with AdamW)."""
    embedded = {
        parameter for module in model.modules() if isinstance(module, nn.Embedding) for parameter in module.parameters()
    }
    return {
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and parameter not in embedded and HEADS.isdisjoint(name.split("."))
    }


class Both(torch.optim.Optimizer):
    """Two optimizers that are one to engine and schedule: its groups are theirs, the first one's first."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        super().__init__(
            [parameter for part in parts for group in part.param_groups for parameter in group["params"]], {}
        )
        self.parts = parts
        # The very dictionaries: a rate that the schedule sets is that of the part.
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """A step of each."""
        assert closure is None, "nobody evaluates the loss once more"
        for part in self.parts:
            part.step()
