"""Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): layers that are computed again in the backward pass.

transformers has it for most families. This is for all of them, and alike: the layers are those of the API's table.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from kubetune_api.families import FAMILIES


def compute_again(model: Any) -> None:
    """Makes each layer keep its inputs alone between the forward and the backward pass, in place. Frozen layers below
    all that is trained keep nothing, as before: no gradient is asked of what goes into them."""
    family = FAMILIES[model.config.model_type]
    for stack in (family.layers, *((family.encoder_decoder.layers,) if family.encoder_decoder else ())):
        for layer in model.base_model.get_submodule(stack).children():
            # Not the module's call: ZeRO's hooks around it must not run a second time.
            layer.forward = _computed_again(layer)


def _computed_again(layer: nn.Module) -> Callable[..., Any]:
    forward = layer.forward

    @wraps(forward)
    def kept_inputs(*arguments: Any, **named: Any) -> Any:
        if not (layer.training and torch.is_grad_enabled() and _learns(layer, (*arguments, *named.values()))):
            return forward(*arguments, **named)
        return checkpoint(forward, *arguments, use_reentrant=False, **named)

    return kept_inputs


def _learns(layer: nn.Module, inputs: Iterable[Any]) -> bool:
    """Whether anything is asked of its backward pass; torch would keep the inputs all the same."""
    tensors = (each for each in (*inputs, *layer.parameters()) if isinstance(each, torch.Tensor))
    return any(tensor.requires_grad for tensor in tensors)
