"""The tasks, a file for each: all that the trainer does differently for one of them.

A row of the API's `TASKS` says what a task is called and what it needs; the object of the same name here does it.
"""

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.tasks.base import TrainingTask
from kubetune_trainer.tasks.causal import CausalLanguageModel
from kubetune_trainer.tasks.classification import Classification

_EVERY: tuple[TrainingTask, ...] = (Classification(), CausalLanguageModel())

TASK_OBJECTS: dict[str, TrainingTask] = {task.name: task for task in _EVERY}
"""By the name that `task.type` has."""


def task_of(spec: FineTuneJobSpec) -> TrainingTask:
    """The task of a job."""
    return TASK_OBJECTS[spec.task.type]
