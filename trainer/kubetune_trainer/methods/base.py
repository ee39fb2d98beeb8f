"""What a method of fine-tuning does for a run. Worker, engine and verification know methods by this protocol alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from kubetune_planner.states import Precision
from kubetune_trainer.model.load import LoadedModel
from kubetune_trainer.records import Expectation

STORED_AS: Mapping[Precision, torch.dtype] = {"FP32": torch.float32, "BF16": torch.bfloat16, "FP16": torch.float16}
"""The numbers of a model that was trained in a precision."""
Shapes = Mapping[str, tuple[int, ...]]
"""By the name of a tensor."""


@dataclass(frozen=True)
class Trainable:
    """A model, ready for the engine."""

    loaded: LoadedModel
    frozen: frozenset[str]
    """The names of the parameters that stay as they are."""
    may_be_unchanged: frozenset[str]
    """Trained parameters that a short run may leave bit for bit as they were."""
    first_values: Mapping[str, str]
    """The digests of trained parameters that the pretrained model does not have, as they were before the first step;
    on rank 0, none on the others."""

    @property
    def parameters(self) -> tuple[int, int]:
        """How many there are, and how many of them are trained; before the engine takes them in slices."""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.loaded.model.parameters()]
        return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


class TrainingMethod(Protocol):
    """One way to fine-tune a model."""

    def refuse_misfit(self, loaded: LoadedModel) -> None:
        """RunError where the method does not suit the model, which has no numbers yet; before the workers start."""

    def rehearse(self, loaded: LoadedModel, folder: Path) -> Shapes:
        """The shapes of what will be published of a model, which has no numbers yet and is of no use afterwards.

        `folder` holds its configuration; what the method publishes beside that is written there.
        """

    def loads_as(self, precision: Precision) -> torch.dtype | None:
        """The numbers in which the pretrained weights are loaded for `attach`; None: as the files have them."""

    def attach(self, loaded: LoadedModel, *, precision: Precision, reach: Callable[[], float]) -> Trainable:
        """Decides, in place, which parameters are trained. Before the engine is built, alike on every rank.

        `reach` tells about how far all steps together move a weight at most: the sum of their learning rates.
        RunError where the method does not suit the model, or nothing would be learned.
        """

    def as_stored(self, model: Any) -> Mapping[str, torch.Tensor]:
        """The tensors of the published files as the model has them, so that each rank can write some of them; nothing
        where what is published is worked out from the whole of them, or is small."""

    def tensors(self, engine: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """What is published, by name, on the CPU: on rank 0, one gathered after the other. Nothing on other ranks, but
        every rank must go through it to its end."""

    def write(self, trainable: Trainable, tensors: Iterable[tuple[str, torch.Tensor]], folder: Path) -> Shapes:
        """Writes the tensors and the configuration in Hugging Face format; the shapes of all that the files hold."""

    def expectation(self, trainable: Trainable, shapes: Shapes) -> Expectation:
        """What verification must find in files of these `shapes`."""
