"""The optimizers, the same torch objects for every ZeRO stage, and what each of their steps does besides."""

import re
from collections.abc import Callable, Mapping
from itertools import groupby
from math import inf, isfinite
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from kubetune_api.job import Training
from kubetune_trainer.training.layerwise import rate_scales
from kubetune_trainer.training.lion import Lion
from kubetune_trainer.training.muon import Both, hidden_matrices

# What transformers.Trainer exempts from weight decay: biases and every kind of norm.
_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.|_)norm(?:$|\.)")

_Kind = TypeVar("_Kind", torch.optim.Adam, torch.optim.AdamW)
Groups = list[dict[str, Any]]
"""Parameters with what an optimizer does to them, as torch's optimizers take them."""


def parameter_groups(model: nn.Module, weight_decay: float) -> Groups:
    """The trained parameters in two groups: with decay, and (biases, norms) without. Empty groups are left out.

    `is_penalized` says the same where the decay is 0: whether the L1 penalty is for them.
    """
    norms = tuple(f"{name}." for name, part in model.named_modules() if isinstance(part, nn.LayerNorm))
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    decayed = {name for name, _ in trained if not name.startswith(norms) and not _NO_DECAY.search(name.lower())}
    groups = [
        {"params": [p for name, p in trained if name in decayed], "weight_decay": weight_decay, "is_penalized": True},
        {"params": [p for name, p in trained if name not in decayed], "weight_decay": 0.0, "is_penalized": False},
    ]
    return [group for group in groups if group["params"]]


def _groups(model: nn.Module, training: Training) -> Groups:
    """The groups of a job: those of `parameter_groups`, and of each one for every rate, the highest first."""
    groups = parameter_groups(model, training.optimizer.settings["weight_decay"])
    if training.layerwise_decay == 1:
        return groups
    scales = rate_scales(model, training.layerwise_decay)
    of_each = [
        {**group, "params": list(params), "lr": training.peak_learning_rate * scale}
        for group in groups
        for scale, params in groupby(sorted(group["params"], key=scales.__getitem__), key=scales.__getitem__)
    ]
    return sorted(of_each, key=lambda group: group["lr"], reverse=True)


def adamw(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) over the trained parameters, with torch's fused kernel."""
    return _of_two_means(torch.optim.AdamW, _groups(model, training), training)


def _of_two_means(kind: Callable[..., _Kind], groups: Groups, training: Training) -> _Kind:
    settings = training.optimizer.settings
    return kind(
        groups,
        lr=training.peak_learning_rate,
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
        fused=True,
    )


def adam(model: nn.Module, training: Training) -> torch.optim.Adam:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980): the decay is a part of the gradient."""
    return _of_two_means(torch.optim.Adam, _groups(model, training), training)


def adafactor(model: nn.Module, training: Training) -> torch.optim.Adafactor:
    """Adafactor (Shazeer & Stern 2018, arXiv:1804.04235), as torch has it: scaled by the weights, without a mean."""
    return torch.optim.Adafactor(_groups(model, training), lr=training.peak_learning_rate)


def lion(model: nn.Module, training: Training) -> Lion:
    """Lion (Chen et al. 2023, arXiv:2302.06675)."""
    settings = training.optimizer.settings
    return Lion(_groups(model, training), lr=training.peak_learning_rate, betas=(settings["beta1"], settings["beta2"]))


def sgd(model: nn.Module, training: Training) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum."""
    settings = training.optimizer.settings
    return torch.optim.SGD(
        _groups(model, training), lr=training.peak_learning_rate, momentum=settings["momentum"], fused=True
    )


def muon(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024) for the hidden matrices, scaled as Liu et al. (2025, arXiv:2502.16982) do to have
    AdamW's rates; AdamW for all else."""
    settings = training.optimizer.settings
    matrices, groups = hidden_matrices(model), _groups(model, training)
    hidden, others = _only(groups, matrices.__contains__), _only(groups, lambda one: one not in matrices)
    parts: list[torch.optim.Optimizer] = []
    if hidden:
        rate, momentum = training.peak_learning_rate, settings["momentum"]
        parts.append(torch.optim.Muon(hidden, lr=rate, momentum=momentum, adjust_lr_fn="match_rms_adamw"))
    if others:
        parts.append(_of_two_means(torch.optim.AdamW, others, training))
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


def shrink_in_each_step(optimizer: torch.optim.Optimizer, l1: float) -> None:
    """Makes each step move the penalized weights by the rate times `l1` towards 0, and let them stay there: the
    proximal step of the L1 penalty, apart from the optimizer's own, as AdamW takes its decay (arXiv:1711.05101).

    It looks at each number alone. At every stage it works on what the optimizer does, 32-bit weights where those are
    kept apart, before they are rounded and shared.
    """

    @torch.no_grad()
    def shrink(stepping: Any, *_: Any) -> None:
        for group in stepping.param_groups:
            reach = group["lr"] * l1
            for parameter in group["params"]:
                # Without a gradient it was not in this step.
                if group["is_penalized"] and parameter.grad is not None:
                    parameter.sub_(parameter.clamp(-reach, reach))

    optimizer.register_step_post_hook(shrink)
