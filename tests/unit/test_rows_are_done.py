"""A row of the API is done everywhere: the planner knows its bytes, the trainer does it."""

from kubetune_api.methods import METHODS
from kubetune_api.optimizers import OPTIMIZERS
from kubetune_api.schedules import SCHEDULES
from kubetune_planner import methods as planned_methods
from kubetune_planner.optimizers import STATE_BYTES
from kubetune_trainer import methods as trained_methods
from kubetune_trainer.training import optimizer as trained_optimizers
from kubetune_trainer.training import schedule as trained_schedules


def test_every_method_has_its_bytes_and_is_done() -> None:
    assert METHODS.keys() == planned_methods.METHODS.keys() == trained_methods.METHODS.keys()


def test_every_schedule_is_done() -> None:
    assert SCHEDULES.keys() == trained_schedules.SCHEDULES.keys()


def test_every_optimizer_has_its_bytes_and_is_done() -> None:
    assert OPTIMIZERS.keys() == STATE_BYTES.keys() == trained_optimizers.OPTIMIZERS.keys()
