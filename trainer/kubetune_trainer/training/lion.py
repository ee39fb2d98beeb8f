"""Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675, algorithm 2), which torch
does not have."""

from typing import Any

import torch


class Lion(torch.optim.Optimizer):
    """Steps by the sign of a mean of the gradients. It looks at each number alone, so ZeRO may cut tensors anywhere."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step, from the gradients that are there."""
        assert closure is None, "nobody evaluates the loss once more"
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group["lr"], beta1, beta2, group["weight_decay"])

    def _step(self, parameter: torch.Tensor, rate: float, beta1: float, beta2: float, decay: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(parameter)
        mean: torch.Tensor = state["mean"]
        assert gradient is not None
        direction = mean.lerp(gradient, 1 - beta1).sign_()
        parameter.mul_(1 - rate * decay).add_(direction, alpha=-rate)
        mean.lerp_(gradient, 1 - beta2)
