"""What goes to the workers of a run and comes back from them.

Ray opens these objects in helper processes of its own as well (the controller, the queue of records), so this module
imports neither torch nor transformers: each such process would spend ten seconds and a gigabyte on them.
"""

from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from kubetune_api.run import Run
from kubetune_trainer.checkpoint.manifest import Checkpoint
from kubetune_trainer.comparison import FilesChecked
from kubetune_trainer.records import (
    EvaluationRecord,
    Expectation,
    RequirementResult,
    StepRecord,
    StoredFile,
    TrainingEnd,
)
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.underway import Passing, Resumption
from kubetune_trainer.watchdog.beats import Beat

Record = StepRecord | EvaluationRecord | Resumption | Passing | TrainingEnd


@dataclass(frozen=True)
class Kept:
    """What earlier executions of the run have left to go on from."""

    last: int
    """The number of the last entry of the chain, which is that of this execution."""
    checkpoints: tuple[Checkpoint, ...]
    """The newest first."""
    damaged: tuple[str, ...]
    """Why newer ones cannot be used, in sentences."""
    identity: dict[str, str]
    """Of this training: see `checkpoint/identity.py`."""


@dataclass(frozen=True)
class WorkerInput:
    """What the driver hands to every worker."""

    run: Run
    resolved: ResolvedTraining
    on_gpu: bool
    """Whether each worker has a GPU, and not the CPU."""
    plan: BatchPlan
    model_files: tuple[tuple[StoredFile, ...], tuple[StoredFile, ...]]
    """The pretrained model as the driver saw it, and the adapter to train on, if there is one; a worker that finds
    others refuses them."""
    cache: str
    """A folder of the node, shared by its workers."""
    kept: Kept | None = None
    """None where nothing was kept, and nothing is to be."""
    data: Any = None
    """Ray's reference to the `PreparedData`."""
    records: Any = None
    """The handle of the `RecordQueue` that ranks add to."""


@dataclass(frozen=True)
class WorkerResult:
    """What rank 0 knows at the end, for the verification and the report."""

    family: str
    device: str
    expected: Expectation
    """What the files that were uploaded must hold."""
    parameters: int
    trained_parameters: int
    steps: tuple[StepRecord, ...]
    evaluations: tuple[EvaluationRecord, ...]
    end: TrainingEnd
    requirements: tuple[RequirementResult, ...]
    files: tuple[StoredFile, ...]
    checked: tuple[FilesChecked, ...] = ()
    """Those of them that the workers have verified."""


class RecordQueue:
    """Where rank 0 puts its records, and each rank its beats; the driver takes them."""

    def __init__(self) -> None:
        self._records: SimpleQueue[Record] = SimpleQueue()
        self._beats: dict[int, Beat] = {}
        self._stops = False

    def put(self, record: Record) -> bool:
        """Adds a record; whether the training is to stop."""
        self._records.put(record)
        return self._stops

    def stop(self) -> None:
        """The training is to stop."""
        self._stops = True

    def take(self) -> list[Record]:
        """All records that have come since the last call."""
        taken = []
        while True:
            try:
                taken.append(self._records.get_nowait())
            except Empty:
                return taken

    def beat(self, beat: Beat) -> None:
        """Takes the next beat of a rank in the place of its last one."""
        self._beats[beat.sender.rank] = beat

    def beats(self) -> list[Beat]:
        """The last one of each rank."""
        return list(self._beats.values())
