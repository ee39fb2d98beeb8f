"""What a task is: everything that depends on what the model learns, from the columns of the data to the model card.

A task is an object without a state. What it returns is plain data: labels, arrays, metrics, sentences. The modules of
tasks import neither torch nor transformers before they train, because processes that only pass records on open them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.task import DataTask
from kubetune_trainer.model.task import ModelTask
from kubetune_trainer.records import DataReport, Details, EvaluationRecord
from kubetune_trainer.tasks.choice_losses import IGNORED as IGNORED

if TYPE_CHECKING:
    import torch

Forward = Callable[..., Any]
"""The model: takes the inputs of a batch by name, and returns what transformers returns (`logits`)."""

Judge = Callable[["torch.Tensor", "torch.Tensor"], tuple["torch.Tensor", ...]]
"""What is said of positions by their scores [positions, choices, …] in 32-bit numbers and their targets [positions, …]:
each [positions, …]."""
IN_CHUNKS = "in_chunks"
"""The attribute of a model that takes `targets` and `judge` beside its inputs, and answers with what is said: whether
it is to be asked so about a number of positions. See `training/in_chunks.py`."""

Tally = dict[str, "torch.Tensor"]
"""What an evaluation counts, by name: arrays of a fixed size whose sum over batches and ranks is all that matters."""


Compared = tuple[Any, Any]
"""The prediction for a row and its target, in plain values: what they are of each task, docs/training.md says."""


@dataclass(frozen=True)
class MicroBatch:
    """What one rank takes through the model at a time."""

    inputs: dict[str, "torch.Tensor"]
    """The model's arguments, each of shape [rows x parts, longest]: the sequences of a row one after another."""
    targets: "torch.Tensor"
    """[rows, …], as the split's targets give them; `IGNORED` (NaN) where nothing is to be learned."""
    rows: NDArray[np.int64]
    """The rows' numbers in the split; empty for a batch that only keeps step with the other ranks."""
    reference: "torch.Tensor | None" = None
    """[rows, parts]: what the task's own `reference` said of them before the training; None for a task without one."""


@dataclass(frozen=True)
class Losses:
    """What a batch came to."""

    rows: "torch.Tensor"
    """[rows]: the summed loss of each row over its targets, in 32-bit numbers; 0 for a row without targets. It is what
    is trained on."""
    outputs: "torch.Tensor"
    """[rows, …]: what the tally needs of the model's answer to each row, and no more (no logits over a vocabulary): it
    is taken apart by rows, and tallied again for the intervals."""
    plain: "torch.Tensor | None" = None
    """[rows]: the loss that an evaluation counts, where it is another one."""

    @property
    def judged(self) -> "torch.Tensor":
        """[rows]: the loss that an evaluation counts."""
        return self.rows if self.plain is None else self.plain


@dataclass(frozen=True)
class Measured:
    """An evaluation: metrics by the names of the API's table, and whatever else it tells."""

    metrics: dict[str, float]
    details: Details | None = None
    settled: Any = None
    """The space with what this evaluation has decided (a threshold), for its own slices and replicates, none of which
    decides by itself, and for the test split; None: nothing."""
    answers: Mapping[int, str] = field(default_factory=dict)
    """In words, by the row's number, where an answer shows beside the other rows alone; for the worst of them."""
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """[rows], by the metric's name, in the order of `answers`: what it is the mean of, for its interval."""


@dataclass(frozen=True)
class CardText:
    """The task's part of the model card, in Markdown."""

    what: str
    """What the model is: "A classifier of texts into 2 labels"."""
    limits: str
    """What it is for, and what it cannot do."""
    model_class: str
    """The class of transformers that loads it."""
    usage: str
    """Python that uses `model` and `tokenizer` once they are loaded."""
    elsewhere: str = ""
    """Python that uses a whole model in `folder` with another library; of an adapter alone it says nothing."""


@runtime_checkable
class Referring(Protocol):
    """A task whose loss may compare the model with what it was before the training."""

    def refers(self, space: Any) -> bool:
        """Whether it does."""

    def reference(self, forward: Forward, batch: MicroBatch, space: Any) -> "torch.Tensor":
        """[rows, parts]: what its losses want to know of the untrained model."""


@runtime_checkable
class OpenedElsewhere(Protocol):
    """A task whose model other libraries than transformers open as well."""

    def files_beside(self, config: Any, space: Any, max_length: int) -> Mapping[str, str]:
        """By its name, the text of each file that they look for beside those of transformers.

        `config` is that of the trained model, `max_length` the longest sequence in tokens.
        """


class TrainingTask(DataTask, ModelTask, Protocol):
    """One task. `space` is always what the task's own `space()` returned."""

    @property
    def name(self) -> str:
        """The key of its row in the API's `TASKS`, and what `task.type` says."""

    def losses(self, forward: Forward, batch: MicroBatch, space: Any) -> Losses:
        """The losses of a batch. May call `forward` more than once, but as often on every rank."""

    def tally(self, losses: Losses, batch: MicroBatch, space: Any) -> Tally:
        """What the batch adds to an evaluation: the sum over its rows of what each adds by itself; zeros where targets
        are ignored."""

    def measure(self, tally: dict[str, NDArray[np.float64]], space: Any) -> Measured:
        """The metrics of a split from the sum of its tallies."""

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """What the report says beside a metric of the headline."""

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """What is worth knowing of the run's last evaluation and its data, in sentences."""

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """What the model card says."""


@runtime_checkable
class Detailed(Protocol):
    """A task whose evaluations tell more than metrics."""

    @property
    def details(self) -> type[Details] | UnionType:
        """The class of `Measured.details`; of several, no two have all their fields in common."""


@runtime_checkable
class Answering(Protocol):
    """A task that can say in words what the model answered."""

    def answers(self, losses: Losses, batch: MicroBatch, space: Any) -> Sequence[str]:
        """The answer to each row of a batch, for the report's list of errors."""


@runtime_checkable
class Comparing(Protocol):
    """A task whose answers a metric of the user's own compares with the targets."""

    def compared(self, losses: Losses, batch: MicroBatch, space: Any) -> Sequence[Compared]:
        """Those of each row of a batch."""

    def made_up(self, space: Any) -> Sequence[Compared]:
        """Those of a few rows on which the model would be right, to try a metric on."""
