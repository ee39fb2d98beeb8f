"""The tasks, a file for each: all that the trainer does differently for one of them.

A row of the API's `TASKS` says what a task is called and what it needs; the object of the same name here does it.
"""

from typing import Any

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.tasks import TASKS
from kubetune_trainer.tasks.base import TrainingTask
from kubetune_trainer.tasks.causal import CausalLanguageModel
from kubetune_trainer.tasks.classification import Classification
from kubetune_trainer.tasks.embedding import Embedding
from kubetune_trainer.tasks.multi_label import MultiLabelClassification
from kubetune_trainer.tasks.preference import Preference
from kubetune_trainer.tasks.regression import Regression
from kubetune_trainer.tasks.seq2seq import SequenceToSequence
from kubetune_trainer.tasks.tagging import Tagging

_EVERY: tuple[TrainingTask, ...] = (
    Classification(),
    MultiLabelClassification(),
    Tagging(),
    Regression(),
    CausalLanguageModel(),
    Preference(),
    SequenceToSequence(),
    Embedding(),
)

TASK_OBJECTS: dict[str, TrainingTask] = {task.name: task for task in _EVERY}
"""By the name that `task.type` has."""


def task_of(spec: FineTuneJobSpec) -> TrainingTask:
    """The task of a job."""
    return TASK_OBJECTS[spec.task.type]


def language_model_class() -> Any:
    """The auto class of transformers for a model that answers with its vocabulary, whatever it is trained for."""
    return next(task for name, task in TASK_OBJECTS.items() if TASKS[name].output == "Vocabulary").model_class()
