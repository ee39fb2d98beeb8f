"""Freezing of the lower parts of a pretrained model."""

from typing import Any

from torch import nn

from kubetune_api.families import Family
from kubetune_api.job import Freeze
from kubetune_trainer.errors import RunError, invalid_model

_KEY_BIASES = ("key.bias", "k_proj.bias", "k_lin.bias", ".k.bias", "pos_key_proj.bias")


def freeze(model: nn.Module, base: nn.Module, family: Family, wanted: Freeze) -> frozenset[str]:
    """Freezes what the manifest wants frozen, in place.

    `base` is `model` without its head; of an encoder and a decoder the lowest layers of both are frozen. Returns the
    names, in `model`, of the parameters that are frozen.
    """
    decoder = family.encoder_decoder
    stacks = [base.get_submodule(name) for name in (family.layers, *((decoder.layers,) if decoder else ()))]
    there = max(map(len, stacks))  # type: ignore[arg-type]
    config: Any = base.config
    if wanted.bottom_layers and family.shared and there < config.num_hidden_layers:
        raise _shared(there)
    if wanted.bottom_layers > there:
        raise _too_many(wanted.bottom_layers, there)
    frozen: list[nn.Module] = [layer for stack in stacks for layer in [*stack.children()][: wanted.bottom_layers]]
    if wanted.embeddings:
        known = dict(base.named_modules())
        frozen.extend(known[name] for name in family.embeddings if name in known)
    for module in frozen:
        module.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise invalid_model("spec.method.freeze: nothing is left to train; freeze fewer layers")
    return frozenset(name for name, parameter in model.named_parameters() if not parameter.requires_grad)


def stored_buffers(model: nn.Module) -> frozenset[str]:
    """What a model stores and never trains."""
    return frozenset(model.state_dict().keys() - {name for name, _ in model.named_parameters(remove_duplicate=False)})


def may_be_unchanged(model: nn.Module, *, short: bool) -> frozenset[str]:
    """The trained parameters that a short run may leave bit for bit as they were.

    A bias of the keys moves no softmax, so its gradient is zero but for rounding. In 16 bits (`short`) the neighbours
    of a norm's weight of 1.0 are far (1/128 and 1/256 in bfloat16): small steps of 32-bit weights do not reach them.
    """
    return frozenset(
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (name.endswith(_KEY_BIASES) or (short and parameter.ndim == 1))
    )


def _shared(there: int) -> RunError:
    return invalid_model(
        f"spec.method.freeze.bottomLayers: the layers of this model share the weights of {there}, so the lower ones"
        " cannot be frozen without the upper ones; remove bottomLayers"
    )


def _too_many(asked: int, there: int) -> RunError:
    return invalid_model(
        f"spec.method.freeze.bottomLayers: {asked} layers cannot be frozen, the model has {there}; freeze {there} or"
        " fewer"
    )
