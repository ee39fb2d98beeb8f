"""What each method leaves to train of a model: what gradients, optimizer states and activations are kept for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kubetune_api.job import LoRA, Method
from kubetune_api.job.method import DEFAULT_RANK
from kubetune_planner.shape import ModelShape


@dataclass(frozen=True)
class TrainedPart:
    """The part of a model that learns."""

    parameters: int
    largest: int
    """Parameters of the largest matrix in it."""
    kept_layers: int
    """The layers whose activations are kept for the backward pass."""
    numbers: int = 0
    """Numbers that are kept for each token beside those of the layers."""
    masks: int = 0
    """Bytes of masks, likewise."""

    def beside(self, number: int) -> int:
        """Bytes of both for a token, in numbers of `number` bytes."""
        return self.numbers * number + self.masks


def full(method: Method, shape: ModelShape, labels: int | None) -> TrainedPart:
    """`Full`: everything that is not frozen. `labels` as in `ModelShape.parameters_for`."""
    layers, embeddings = min(method.freeze.bottom_layers, shape.layers_with_weights), method.freeze.embeddings
    frozen = shape.bottom_parameters(layers) + embeddings * shape.embedding_parameters
    has_output_layer = labels is None and not shape.tied
    learns_vocabulary = not embeddings or has_output_layer
    return TrainedPart(
        parameters=shape.parameters_for(labels) - shape.fixed_parameters - frozen,
        largest=max(shape.layer_matrix, shape.embedding_matrix) if learns_vocabulary else shape.layer_matrix,
        # Frozen layers keep no activations where nothing below them learns.
        kept_layers=shape.layers - (layers if embeddings else 0),
    )


def lora(method: Method, shape: ModelShape, labels: int | None) -> TrainedPart:
    """`LoRA`: two matrices beside each adapted layer, and the head. The frozen layers keep their activations, since
    what lies below them learns. Each adapter keeps what is between its matrices; with dropout, an input of its own and
    the mask; DoRA, both outputs that it multiplies. Layers that the manifest names are counted as all linear ones."""
    settings = (method.lora or LoRA()).resolved
    rank = settings.rank or DEFAULT_RANK
    everywhere = settings.targets != "Attention"
    widened = ((shape.embedding, shape.hidden),) if everywhere and shape.embedding != shape.hidden else ()
    widths = (*shape.adapted_matrices(everywhere=everywhere), *widened)
    adapters = sum(rank * (inputs + outputs) for inputs, outputs in widths)
    lengths = sum(outputs for _, outputs in widths) if settings.variant == "DoRA" else 0
    head = 0 if labels is None else shape.classifier_parameters(labels)
    # Layers that share their weights have them once, and are passed each time.
    times = shape.layers // shape.layers_with_weights
    dropped = times * sum(inputs for inputs, _ in widths) if settings.dropout else 0
    scaled = times * sum(2 * outputs for _, outputs in widths) if settings.variant == "DoRA" else 0
    return TrainedPart(
        numbers=times * rank * len(widths) + dropped + scaled,
        masks=dropped,
        parameters=adapters + lengths + head,
        largest=max(shape.head_matrix(labels), *(rank * max(width) for width in widths)),
        kept_layers=shape.layers,
    )


METHODS: Mapping[str, Callable[[Method, ModelShape, int | None], TrainedPart]] = {"Full": full, "LoRA": lora}
"""By `spec.method.type`."""
