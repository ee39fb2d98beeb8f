"""What workers found in the files of a trained model: told to whoever judges the model as a whole."""

from dataclasses import dataclass, field

from kubetune_trainer.records import StoredFile


@dataclass
class Compared:
    """What came of the tensors in some files of a trained model."""

    seen: set[str] = field(default_factory=set)
    changed: int = 0
    """Tensors that differ from the base model's."""
    unchanged: list[str] = field(default_factory=list)
    """Trained tensors of the base model."""
    trained: int = 0
    """The tensors that have been compared, but for frozen ones."""
    moved: int = 0
    """Those of them that are not as they were."""
    untrained: list[str] = field(default_factory=list)
    """New tensors that are as they were before the first step."""


@dataclass(frozen=True)
class FilesChecked:
    """Files of a trained model that a worker has fetched back and compared."""

    files: tuple[StoredFile, ...]
    compared: Compared
    errors: tuple[str, ...]
    """Why they are not what was trained, in sentences."""
