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
from kubetune_trainer.training.lion import Lion
from kubetune_trainer.training.muon import Both, hidden_matrices

# What transformers.Trainer exempts from weight decay: biases and every kind of norm.
_NO_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


Groups = list[dict[str, Any]]
"""Parameters with what an optimizer does to them, as torch's optimizers take them."""


def parameter_groups(model: nn.Module, weight_decay: float) -> Groups:
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
    return _adamw(parameter_groups(model, training.optimizer.settings["weight_decay"]), training)


def _adamw(groups: Groups, training: Training) -> torch.optim.AdamW:
    settings = training.optimizer.settings
    return torch.optim.AdamW(
        groups,
        lr=training.peak_learning_rate,
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
        fused=True,
    )


def adam(model: nn.Module, training: Training) -> torch.optim.Adam:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980): the decay is a part of the gradient."""
    settings = training.optimizer.settings
    return torch.optim.Adam(
        parameter_groups(model, settings["weight_decay"]),
        lr=training.peak_learning_rate,
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
        fused=True,
    )


def adafactor(model: nn.Module, training: Training) -> torch.optim.Adafactor:
    """Adafactor (Shazeer & Stern 2018, arXiv:1804.04235), as torch has it: scaled by the weights, without a mean."""
    groups = parameter_groups(model, training.optimizer.settings["weight_decay"])
    return torch.optim.Adafactor(groups, lr=training.peak_learning_rate)


def lion(model: nn.Module, training: Training) -> Lion:
    """Lion (Chen et al. 2023, arXiv:2302.06675)."""
    settings = training.optimizer.settings
    groups = parameter_groups(model, settings["weight_decay"])
    return Lion(groups, lr=training.peak_learning_rate, betas=(settings["beta1"], settings["beta2"]))


def sgd(model: nn.Module, training: Training) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum."""
    settings = training.optimizer.settings
    groups = parameter_groups(model, settings["weight_decay"])
    return torch.optim.SGD(groups, lr=training.peak_learning_rate, momentum=settings["momentum"], fused=True)


def muon(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024) for the hidden matrices, scaled as Liu et al. (2025, arXiv:2502.16982) do to have
    AdamW's rates; AdamW for all else."""
    settings = training.optimizer.settings
    matrices = hidden_matrices(model)
    groups = parameter_groups(model, settings["weight_decay"])
    hidden, others = _only(groups, matrices.__contains__), _only(groups, lambda one: one not in matrices)
    parts: list[torch.optim.Optimizer] = []
    if hidden:
        rate, momentum = training.peak_learning_rate, settings["momentum"]
        parts.append(torch.optim.Muon(hidden, lr=rate, momentum=momentum, adjust_lr_fn="match_rms_adamw"))
    if others:
        parts.append(_adamw(others, training))
    return Both(*parts)


def _only(groups: Groups, wanted: Callable[[nn.Parameter], bool]) -> Groups:
    chosen = [{**group, "params": list(filter(wanted, group["params"]))} for group in groups]
    return [group for group in chosen if group["params"]]


OPTIMIZERS: Mapping[str, Callable[[nn.Module, Training], torch.optim.Optimizer]] = {
    "AdamW": adamw,
    "Adam": adam,
    "Adafactor": adafactor,
    "Lion": lion,
    "Muon": muon,
    "SGD": sgd,
}
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
    """The learning rates of all steps together: about how far they move a weight at most. Infinite where the
    optimizer's steps have no bound."""
    if not training.optimizer.row.bounded:
        return inf
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=training.peak_learning_rate)
    (share,) = learning_rate_schedule(optimizer, training, total_steps).lr_lambdas
    total: float = training.peak_learning_rate * sum(map(share, range(total_steps)))
    return total
