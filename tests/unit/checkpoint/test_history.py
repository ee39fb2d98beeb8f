"""What was recorded survives as JSON, number by number."""

import sys
from dataclasses import is_dataclass
from importlib import import_module
from math import inf, nan
from pkgutil import iter_modules
from typing import Any, get_args

import pytest

from kubetune_trainer import tasks
from kubetune_trainer.checkpoint.history import History, from_json, to_json
from kubetune_trainer.checkpoint.manifest import DamagedError
from kubetune_trainer.figures import Interval, SliceRecord
from kubetune_trainer.records import EvaluationRecord, StepRecord
from kubetune_trainer.shown_rows import WorstRow, WrittenAnswer
from kubetune_trainer.tasks import TASK_OBJECTS
from kubetune_trainer.tasks.base import Detailed, TrainingTask
from kubetune_trainer.tasks.class_metrics import ClassificationDetails, ClassMetrics
from kubetune_trainer.tasks.entities import EntityDetails
from kubetune_trainer.tasks.multi_label import LabelSetDetails, LabelSets, Point
from kubetune_trainer.tasks.number_metrics import NumberMetrics, RegressionDetails, Scatter
from kubetune_trainer.tasks.retrieval import RetrievalDetails
from kubetune_trainer.tasks.scores import CalibrationBin

CLASS = ClassMetrics("a", 0.1, 0.2, 0.3, 4)
DETAILS: list[Any] = [
    None,
    ClassificationDetails((CLASS,), ((3, 1), (0, 2)), (CalibrationBin(0.9, 0.8, 7),), 0.25),
    LabelSetDetails((CLASS,), (4,), 0.5, tuned=True, curve=(Point(0.5, 0.1, 0.2, 0.3),)),
    EntityDetails((CLASS,), (3,), ("O", 0.75)),
    RegressionDetails(
        (NumberMetrics(**dict.fromkeys(NumberMetrics.__dataclass_fields__, 0.5)),),
        (Scatter(0.0, 1.0, ((1, 2, 3),)),), (0.5,), 6,
    ),
    RetrievalDetails(5, (1, 2), (3, 4)),
]  # fmt: skip


def evaluation(details: Any) -> EvaluationRecord:
    return EvaluationRecord(
        "validation", 4, 0.5, {"loss": 1 / 3, "auc": inf}, details, {"loss": Interval(0.1, 0.7)},
        (WorstRow(3, 9.5, None), WorstRow(4, 0.1, "yes")), (SliceRecord("german", 4, {"loss": 0.1}),),
        (WrittenAnswer(1, "q", "e", "w"),),
    )  # fmt: skip


def is_details(one: Any) -> bool:
    return isinstance(one, type) and is_dataclass(one) and one.__name__.endswith("Details")


def kinds_of(task: TrainingTask) -> set[type]:
    """The details that the task says it has."""
    if not isinstance(task, Detailed):
        return set()
    return set(get_args(task.details)) or {task.details}


def kinds_named_by(task: TrainingTask) -> set[type]:
    """The details that its module works with."""
    return set(filter(is_details, vars(sys.modules[type(task).__module__]).values()))


CASES = [
    pytest.param(getattr(task, "details", None), one, id=f"{task.name}-{type(one).__name__}")
    for task in TASK_OBJECTS.values()
    for one in DETAILS
    if one is None or type(one) in kinds_of(task)
]


@pytest.mark.parametrize(("kind", "details"), CASES)
def test_what_was_recorded_is_read_back_as_it_was(kind: Any, details: Any) -> None:
    history = History(
        (StepRecord(1, 0.1, 1 / 3, 1e-5, 2.5, 100, 0.25),), (evaluation(details),), {"watch": {"best": -1.5}}
    )
    assert from_json(to_json(history), details=kind, space=LabelSets) == history


def test_nan_is_read_back_as_nan() -> None:
    history = History((), (EvaluationRecord("test", 1, 1.0, {"loss": nan}),))
    (found,) = from_json(to_json(history), details=None, space=LabelSets).evaluations
    assert found.metrics["loss"] != found.metrics["loss"]


def test_what_the_validation_split_has_settled_is_read_back() -> None:
    settled = {4: LabelSets(("a", "b"), (0.25, 0.5), 0.25, tuned=True)}
    history = History((), (), settled=settled)
    assert from_json(to_json(history), details=None, space=LabelSets).settled == settled


@pytest.mark.parametrize("data", [b"", b"[]", b'{"steps": [{}], "evaluations": [], "settled": {}, "loop": {}}'])
def test_what_is_no_history_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedError, match="its history cannot be read"):
        from_json(data, details=None, space=LabelSets)


@pytest.mark.parametrize("task", TASK_OBJECTS.values(), ids=lambda task: task.name)
def test_a_task_says_all_details_that_its_module_works_with(task: TrainingTask) -> None:
    assert kinds_of(task) == kinds_named_by(task)


def test_each_kind_of_details_belongs_to_a_task_and_is_read_back_here() -> None:
    for module in iter_modules(tasks.__path__):
        import_module(f"{tasks.__name__}.{module.name}")
    everywhere = {
        one
        for name, module in list(sys.modules.items())
        if name.startswith(f"{tasks.__name__}.")
        for one in vars(module).values()
        if is_details(one)
    }
    assert everywhere == {kind for task in TASK_OBJECTS.values() for kind in kinds_of(task)}
    assert everywhere == {type(one) for one in DETAILS if one is not None}
