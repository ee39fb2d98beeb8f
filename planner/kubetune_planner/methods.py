"""What each method leaves to train of a model: what gradients, optimizer states and activations are kept for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kubetune_api.job import Method
from kubetune_planner.shape import ModelShape


@dataclass(frozen=True)
class TrainedPart:
    """The part of a model that learns."""

    parameters: int
    largest: int
    """Parameters of the largest matrix in it."""
    kept_layers: int
    """The layers whose activations are kept for the backward pass."""


def full(method: Method, shape: ModelShape, labels: int | None) -> TrainedPart:
    """`Full`: everything that is not frozen. `labels` as in `ModelShape.parameters_for`."""
    layers, embeddings = min(method.freeze.bottom_layers, shape.layers), method.freeze.embeddings
    frozen = layers * shape.layer_parameters + embeddings * shape.embedding_parameters
    has_output_layer = labels is None and not shape.tied
    learns_vocabulary = not embeddings or has_output_layer
    return TrainedPart(
        parameters=shape.parameters_for(labels) - frozen,
        largest=max(shape.layer_matrix, shape.embedding_matrix) if learns_vocabulary else shape.layer_matrix,
        # Frozen layers keep no activations where nothing below them learns.
        kept_layers=shape.layers - (layers if embeddings else 0),
    )


METHODS: Mapping[str, Callable[[Method, ModelShape, int | None], TrainedPart]] = {"Full": full}
"""By `spec.method.type`."""
