"""The optimizers and their schedule, the same torch objects for every ZeRO stage."""

from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from transformers import get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

from kubetune_api.job import Training
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError

# What transformers.Trainer exempts from weight decay: biases and every kind of norm.
_NO_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters in two groups: with decay, and (biases, norms) without. Empty groups are left out."""
    decayed = set(get_parameter_names(model, [nn.LayerNorm], _NO_DECAY))
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for name, p in trained if name in decayed], "weight_decay": weight_decay},
        {"params": [p for name, p in trained if name not in decayed], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adamw(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) over the trained parameters, with torch's fused kernel."""
    settings = training.optimizer.settings
    return torch.optim.AdamW(
        parameter_groups(model, settings["weight_decay"]),
        lr=training.peak_learning_rate,
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
        fused=True,
    )


OPTIMIZERS: Mapping[str, Callable[[nn.Module, Training], torch.optim.Optimizer]] = {"AdamW": adamw}
"""By `spec.training.optimizer.type`."""


def clip_in_each_step(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Makes each step scale the gradients down to `max_norm` first (0: not at all), and keep the norm that they had.
    A step whose norm is not finite changes nothing.

    For ZeRO stage 0, where DeepSpeed clips but forgets the norm; from 1 on, its own optimizers do all of it.
    """

    def clip(stepping: Any, *_: Any) -> None:
        parameters = [parameter for group in stepping.param_groups for parameter in group["params"]]
        # The attribute that a DeepSpeed engine reads after the step.
        norm = stepping._global_grad_norm = clip_grad_norm_(parameters, max_norm or inf)
        if not isfinite(norm):
            for parameter in parameters:
                parameter.grad = None

    optimizer.register_step_pre_hook(clip)


def warmup_steps(training: Training, total_steps: int) -> int:
    """The steps of the warm-up, worked out from the ratio where the manifest gives one."""
    if training.schedule.warmup_steps is not None:
        return training.schedule.warmup_steps
    return round((training.schedule.warmup_ratio or 0.0) * total_steps)


def refuse_endless_warmup(training: Training, total_steps: int) -> None:
    """A warm-up as long as the run never reaches its rate, and a run of one step would train at rate 0."""
    warmup = warmup_steps(training, total_steps)
    if warmup >= total_steps:
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.training.schedule: the warm-up takes {warmup} steps and the run {total_steps}; shorten the warm-up,"
            " or raise spec.training.epochs or spec.training.maxSteps",
        )


def learning_rate_schedule(optimizer: Any, training: Training, total_steps: int) -> Any:
    """The schedule of the manifest, as transformers builds it."""
    warmup = warmup_steps(training, total_steps)
    name = training.schedule.type.lower()
    if name == "constant":
        name = "constant_with_warmup"
    return get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total_steps)


def sum_of_rates(training: Training, total_steps: int) -> float:
    """The learning rates of all steps together."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=training.peak_learning_rate)
    (share,) = learning_rate_schedule(optimizer, training, total_steps).lr_lambdas
    total: float = training.peak_learning_rate * sum(map(share, range(total_steps)))
    return total
