"""What relative positions add to the plain transformer: parameters, and vectors that a layer looks up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubetune_api.families import Family

_BUCKETS = 32


@dataclass(frozen=True)
class RelativePositions:
    """Relative positions of one model."""

    embedding_parameters: int = 0
    """Beside the layers, and frozen with the embeddings."""
    layer_parameters: int = 0
    """In each layer."""
    lookups: int = 0
    """Vectors as wide as the model that each layer makes for each row of a batch."""
    kinds: int = 0
    """Ways in which positions count beside the content: from a word to a position, from a position to a word."""


NONE = RelativePositions()


def relative_positions(config: Mapping[str, Any], family: Family, hidden: int, heads: int) -> RelativePositions:
    """What config.json says of them."""
    match family.relative:
        case "None":
            return NONE
        case "Buckets":
            return RelativePositions(int(config.get("relative_attention_num_buckets", _BUCKETS)) * heads)
        case "Disentangled":
            return _disentangled(config, hidden)


def _disentangled(config: Mapping[str, Any], hidden: int) -> RelativePositions:
    """DeBERTa's (He et al. 2021, arXiv:2006.03654)."""
    kernel = int(config.get("conv_kernel_size") or 0)
    convolution = hidden * hidden * kernel // int(config.get("conv_groups", 1)) + 3 * hidden if kernel else 0
    if not config.get("relative_attention"):
        return RelativePositions(convolution)
    asked = (config.get(name) or -1 for name in ("position_buckets", "max_relative_positions"))
    span = next((int(size) for size in asked if size > 0), int(config["max_position_embeddings"]))
    norm = 2 * hidden if "layer_norm" in str(config.get("norm_rel_ebd")) else 0
    ways = config.get("pos_att_type") or ()
    kinds = sum(way in ways for way in ("c2p", "p2c"))
    return RelativePositions(
        2 * span * hidden + norm + convolution,
        0 if config.get("share_att_key") else kinds * (hidden + 1) * hidden,
        2 * span * kinds,
        kinds,
    )
