"""What the loading of a model asks of a task."""

from collections.abc import Sequence
from typing import Any, Protocol

from kubetune_trainer.records import Answer


class ModelTask(Protocol):
    """The part of a task that decides which model is trained."""

    @property
    def new_head(self) -> bool:
        """Whether the model may begin with an output layer of new weights, which know nothing before the training.

        Otherwise files without that layer are refused, and the model is evaluated before the first step as well.
        """

    def model_class(self) -> Any:
        """The auto class of transformers that puts the task's head on a model."""

    def configure(self, config: Any, space: Any) -> None:
        """Writes the head's outputs into the pretrained configuration (transformers' `PretrainedConfig`), in place."""

    def fits_head(self, config: Any, space: Any) -> bool:
        """Whether the pretrained head answers in this very space, and is trained further; read before `configure`."""

    @property
    def generation(self) -> "Generation | None":
        """How the trained model generates; None: it does not."""


class Generation(Protocol):
    """The part of a task whose model writes."""

    def stop_tokens(self, tokenizer: Any, pretrained: Sequence[int], space: Any) -> Sequence[int]:
        """Where the trained model stops.

        `pretrained` are the tokens that the pretrained generation configuration names.
        """

    def answers(self, split: Any, tokenizer: Any) -> Sequence[Answer]:
        """Some short answers that a split (`EncodedSplit`) teaches whole, to ask the published model for."""

    def asked(self, split: Any, row: int) -> Answer:
        """The last answer of a row, and all that stands before it."""
