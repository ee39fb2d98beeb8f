"""Heads whose outputs have names: how config.json says them, and whether a pretrained one has the same."""

from collections.abc import Sequence
from typing import Any


def has_head(config: Any, ending: str) -> bool:
    """Whether the pretrained model is of a class that ends so: `ForSequenceClassification`."""
    architectures = getattr(config, "architectures", None) or []
    return any(str(name).endswith(ending) for name in architectures)


def name_outputs(config: Any, labels: Sequence[str]) -> None:
    """An output for each label, in their order."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}


def names_outputs_so(config: Any, labels: Sequence[str]) -> bool:
    """Whether the outputs are these very labels, in this order."""
    return tuple(config.id2label.get(index) for index in range(config.num_labels)) == tuple(labels)
