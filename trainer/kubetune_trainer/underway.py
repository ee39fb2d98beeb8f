"""What a training tells of itself while it goes on, for whoever waits: none of it is kept."""

from dataclasses import dataclass

from kubetune_api.text import plural
from kubetune_trainer.records import EvaluationRecord, StepRecord


@dataclass(frozen=True)
class EvaluationStart:
    """An evaluation begins: until its record comes, no step is done."""

    split: str
    step: int


@dataclass(frozen=True)
class ReferenceProgress(EvaluationStart):
    """Before the first step, the untrained model is asked about each row, for a loss that compares with it."""

    rows: int
    """Those that it was asked about."""
    of_rows: int

    @property
    def sentence(self) -> str:
        """For people."""
        asked = f"{self.rows:,} of " * bool(self.rows)
        return f"Asking the untrained model about {asked}{plural(self.of_rows, 'row')} of the {self.split} split"


@dataclass(frozen=True)
class Writing:
    """Within an evaluation, the model writes answers."""

    split: str
    step: int
    rows: int
    """Those that have one."""
    of_rows: int


@dataclass(frozen=True)
class Resumption:
    """The training goes on from a checkpoint, or looked for one."""

    step: int
    """The last that was done; 0: none was found, and it begins anew."""
    skipped: tuple[str, ...] = ()
    """Why newer checkpoints were not used, in sentences."""
    records: tuple[StepRecord | EvaluationRecord, ...] = ()
    """Those of the steps until then."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """For people."""
        begins = "the training begins anew: no checkpoint can be used"
        return *self.skipped, f"the training goes on behind step {self.step:,}" if self.step else begins


@dataclass(frozen=True)
class Saved:
    """A checkpoint is committed."""

    step: int
    time: str
    """When it was."""
    size_bytes: int
    """Of all its files."""
    stall_seconds: float
    """How long the training stood still for its copy, on the rank that took longest."""
    upload_seconds: float
    """On the rank that took longest; the training went on meanwhile."""
    interval_seconds: float | None = None
    """From the beginning of one to that of the next; None where steps alone say."""


@dataclass(frozen=True)
class NotSaved:
    """A checkpoint could not be saved. The training goes on."""

    step: int
    why: str
    """A sentence."""


@dataclass(frozen=True)
class Spiked:
    """The loss of a step was far above what was usual. The training goes on."""

    step: int
    loss: float
    usual: float

    @property
    def sentence(self) -> str:
        """For people."""
        return f"the loss of step {self.step:,} is {self.loss:.6g}, and about {self.usual:.6g} was usual before"


Passing = EvaluationStart | Writing | Saved | NotSaved | Spiked
"""What is no part of a run's record."""
