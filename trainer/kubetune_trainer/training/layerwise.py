"""A lower learning rate for each layer further down (Clark et al. 2020, arXiv:2003.10555, section 3.1)."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from kubetune_api.families import FAMILIES


def rate_scales(model: Any, decay: float) -> Mapping[nn.Parameter, float]:
    """For each parameter, its rate as a share of the highest: the head and what else is above the layers has all of
    it, the top layer `decay`, the next one `decay` squared, and the embeddings the least. Of an encoder with a decoder
    each has a top layer, as each has bottom layers to freeze."""
    family = FAMILIES[model.config.model_type]
    decoder = family.encoder_decoder
    stacks = [_layer_in(stack) for stack in (family.layers, *([decoder.layers] if decoder else []))]
    embedding = re.compile(rf"(?:^|\.)(?:{'|'.join(map(re.escape, family.embeddings))})\.")
    parameters = dict(model.named_parameters())
    depths: dict[str, int] = {}
    for layer in stacks:
        places = {name: int(found[1]) for name in parameters if (found := layer.search(name))}
        layers = 1 + max(places.values(), default=-1)
        depths |= {name: layers - place for name, place in places.items()}
    lowest = 1 + max(depths.values(), default=0)

    def depth(name: str) -> int:
        return depths.get(name, lowest if embedding.search(name) else 0)

    return {parameter: decay ** depth(name) for name, parameter in parameters.items()}


def _layer_in(stack: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\.){re.escape(stack)}\.(\d+)\.")
