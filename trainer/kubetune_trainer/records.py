"""What a run measures and remembers: the data between the training loop, the report and the manifest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kubetune_api.job import FineTuneJob
from kubetune_trainer.figures import Interval, SliceRecord
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.shown_rows import Sample, ShownError, WorstRow, WrittenAnswer


@dataclass(frozen=True)
class StoredFile:
    """A file of an input or of the artifact."""

    name: str
    """The full URI of an input file; the path relative to the run's root of an artifact's file."""
    size: int
    sha256: str


@dataclass(frozen=True)
class LocalFile:
    """A file of an input, fetched to this machine."""

    path: Path
    """Where it lies here."""
    uri: str
    """Where it came from, in full."""
    size: int
    sha256: str

    @property
    def stored(self) -> StoredFile:
        """The same for the manifest, which knows nothing of this machine."""
        return StoredFile(self.uri, self.size, self.sha256)


@dataclass(frozen=True)
class CleaningStep:
    """What one step of the cleaning did."""

    name: str
    """`dropEmpty`, `dropDuplicates`, …: the field's name in the manifest where there is one."""
    what: str
    """The same for people: "rows with an empty text"."""
    rows: int
    """The rows dropped (or, for a normalisation, changed)."""
    dropped: bool = True


@dataclass(frozen=True)
class SplitReport:
    """One split, after cleaning and encoding."""

    name: str
    rows: int
    tokens: int
    longest: int
    """The longest row, in tokens."""
    truncated: int
    """Rows cut at the greatest length."""
    label_rows: tuple[tuple[str, int], ...] = ()
    """Rows per label, in the order of the labels."""


@dataclass(frozen=True)
class DataReport:
    """Where the data came from and what became of it."""

    files: tuple[StoredFile, ...]
    rows_read: int
    cleaning: tuple[CleaningStep, ...]
    splits: tuple[SplitReport, ...]
    labels: tuple[str, ...] = ()
    """In the order of the head's outputs; empty where those have no names."""
    notes: tuple[str, ...] = ()
    """What the author of the job should know of the data, in sentences."""
    samples: tuple[Sample, ...] = ()
    """The first rows of the training split."""
    fields: tuple[str, ...] = ()
    """What each row has: `text`, `label`, as `Field.name`."""

    def split(self, name: str) -> SplitReport | None:
        """The split of that name, if the run has it."""
        return next((split for split in self.splits if split.name == name), None)


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step."""

    step: int
    """Counted from 1."""
    epoch: float
    loss: float
    """The sum of the losses of the global batch over its number of targets."""
    learning_rate: float
    gradient_norm: float
    tokens: int
    """Tokens of the global batch, padding not counted."""
    seconds: float


@dataclass(frozen=True)
class Answer:
    """What a model was trained to say, in tokens."""

    prompt: Sequence[int]
    tokens: Sequence[int]
    """The last one ends the answer."""


class Details(Protocol):
    """What an evaluation tells beyond its metrics: a dataclass of the task's own, such as a confusion matrix."""

    def to_dict(self) -> dict[str, Any]:
        """What `metrics.jsonl` says of it, in values that JSON has."""


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation of one split."""

    split: str
    step: int
    epoch: float
    metrics: dict[str, float]
    """By the names of the API's table, those of the task."""
    details: Details | None = None
    intervals: dict[str, Interval] = field(default_factory=dict)
    """By the same names. Only of the published weights, and not where the tally is too large."""
    worst: tuple[WorstRow, ...] = ()
    """The rows with the greatest loss per target, of the published weights."""
    slices: tuple[SliceRecord, ...] = ()
    """Those of `evaluation.slices` that have a row in the split, of the published weights."""
    written: tuple[WrittenAnswer, ...] = ()
    """Some of the answers that the model wrote."""
    notes: tuple[str, ...] = ()
    """What of it could not be measured, in sentences."""

    def judges(self, kept_step: int) -> bool:
        """Whether it is of the published weights: the last of the test split always is."""
        return self.split != "validation" or self.step == kept_step


@dataclass(frozen=True)
class TrainingEnd:
    """No more step is done, and it is decided which weights are published."""

    step: int
    """The last that was done."""
    total_steps: int
    """Those that were planned."""
    kept_step: int
    """The one whose weights are published."""

    @property
    def stopped_early(self) -> bool:
        """Whether the validation split has ended it."""
        return self.step < self.total_steps

    def sentence(self, metric: str | None) -> str | None:
        """What has been decided by `metric`, for people; None where the run went to its last step and keeps that."""
        stopped = f"the training stopped early, at step {self.step:,} of {self.total_steps:,}: {metric} got no better"
        kept = f"published are the weights of step {self.kept_step:,}, the best by {metric}"
        said = [*[stopped] * self.stopped_early, *[kept] * (self.kept_step < self.step)]
        return "; ".join(said) or None


def in_order(
    steps: Iterable[StepRecord], evaluations: Iterable[EvaluationRecord], end: TrainingEnd
) -> list[StepRecord | EvaluationRecord | TrainingEnd]:
    """All of them in the order of the steps: an evaluation stands behind the step whose weights it judges."""
    # Sorting is stable: at the same step the step itself stays first.
    return sorted([*steps, *evaluations, end], key=lambda record: record.step)


def latest(evaluations: Iterable[EvaluationRecord]) -> tuple[EvaluationRecord, ...]:
    """Each split at each step once: what is told again of the published weights takes the place of the first."""
    return tuple({(record.split, record.step): record for record in evaluations}.values())


def final_metrics(evaluations: Iterable[EvaluationRecord], kept_step: int) -> dict[str, float]:
    """The metrics of the weights of that step, by full name: `test/accuracy`."""
    return {
        f"{record.split}/{name}": value
        for record in evaluations
        if record.judges(kept_step)
        for name, value in record.metrics.items()
    }


@dataclass(frozen=True)
class Expectation:
    """What verification must find in the files of a trained model."""

    shapes: Mapping[str, tuple[int, ...]]
    """Every tensor of the model's files, and no other."""
    base_names: Mapping[str, str]
    """The base model's name for each tensor that came from it; a tensor without one is new."""
    frozen: frozenset[str] = frozenset()
    """Tensors that must be there and be the base model's, bit for bit; of tied ones, the one that is stored."""
    may_be_unchanged: frozenset[str] = frozenset()
    """Trained tensors that no gradient may have reached, so that they may be as they were."""
    first_values: Mapping[str, str] = field(default_factory=dict)
    """The digests of new tensors before the first step, in the type that they are stored in."""
    beside: frozenset[str] = frozenset()
    """Files that other libraries look for, by their names in the model's folder."""


@dataclass(frozen=True)
class RequirementResult:
    """A requirement of the manifest, judged."""

    metric: str
    value: float
    min: float | None
    max: float | None

    @property
    def met(self) -> bool:
        """NaN meets nothing."""
        return (self.min is None or self.value >= self.min) and (self.max is None or self.value <= self.max)


@dataclass(frozen=True)
class PretrainedRecord:
    """The pretrained model."""

    uri: str
    revision: str | None
    family: str
    """transformers' model type: `bert`, `llama`."""
    files: tuple[StoredFile, ...]
    parameters: int
    trained_parameters: int
    adapter: tuple[StoredFile, ...] = ()
    """The files of the adapter that was trained on; the job names it then, and not the base."""


@dataclass(frozen=True)
class RunRecord:
    """A whole run."""

    job: FineTuneJob
    run_id: str
    execution: int
    resolved: ResolvedTraining
    device: str
    start_time: str
    completion_time: str
    base: PretrainedRecord
    data: DataReport
    steps: tuple[StepRecord, ...]
    evaluations: tuple[EvaluationRecord, ...]
    end: TrainingEnd
    requirements: tuple[RequirementResult, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What its author should know of the published model, in sentences."""
    errors: tuple[ShownError, ...] = ()
    """What the published model does worst on."""

    @property
    def rejected(self) -> bool:
        """Whether the model missed a requirement."""
        return not all(requirement.met for requirement in self.requirements)

    def final_metrics(self) -> dict[str, float]:
        """Those of the published weights, by full name: `test/accuracy`."""
        return final_metrics(self.evaluations, self.end.kept_step)

    def final_intervals(self) -> dict[str, Interval]:
        """Where these lie with 95 % confidence, by the same names."""
        judging = {record.split: record.intervals for record in self.evaluations if record.judges(self.end.kept_step)}
        return {f"{split}/{name}": found for split, of_split in judging.items() for name, found in of_split.items()}
