"""A training between two of its steps: what its checkpoints keep besides what was recorded."""

from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from kubetune_trainer.training.kept_weights import KeptWeights
from kubetune_trainer.training.spikes import Spikes
from kubetune_trainer.training.watch import Watch
from kubetune_trainer.underway import Spiked


@dataclass(frozen=True)
class Going:
    """What goes on from step to step."""

    engine: Any
    watch: Watch
    weights: KeptWeights
    settled: dict[int, Any] = field(default_factory=dict)
    """By the step: the spaces that the validation split has settled."""
    spikes: Spikes = field(default_factory=Spikes)


class Checkpoints(Protocol):
    """Who keeps a training, so that it can go on. Every rank calls each of these in the same order."""

    def resume(self, going: Going) -> int:
        """Gives it what was kept, and returns the step behind which it goes on; 0 where nothing was."""

    def after(self, step: int, going: Going) -> None:
        """The training is behind that step, and goes on."""

    def roll_back(self, spiked: Spiked, going: Going) -> NoReturn:
        """Ends the training; whoever goes on takes other rows behind the last checkpoint. RunError (ROLLED_BACK)."""


class NoCheckpoints:
    """See `Checkpoints`."""

    def resume(self, going: Going) -> int:  # noqa: ARG002 - nothing was kept
        """See `Checkpoints`."""
        return 0

    def after(self, step: int, going: Going) -> None:
        """See `Checkpoints`."""

    def roll_back(self, spiked: Spiked, going: Going) -> NoReturn:  # noqa: ARG002 - nothing was kept
        """See `Checkpoints`."""
        raise AssertionError("a job that rolls back has checkpoints")
