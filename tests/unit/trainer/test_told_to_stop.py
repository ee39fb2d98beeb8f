"""A run that is told to stop: what the driver makes of it, and how a rank hears of it."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kubetune_api.run import Run
from kubetune_api.stopping import StopSign
from kubetune_trainer.handoff import Record
from kubetune_trainer.ray_rank import Outside
from kubetune_trainer.stop_request import StopRequest
from support.one_rank import group_of_one
from support.run_records import classification
from support.tiny_models import job_for

RECORD = classification()
STEP = RECORD.steps[0]


class Heard:
    """A listener to stages, and the workers."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.workers = 0

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def tell_workers(self) -> None:
        self.workers += 1


def look(stop: StopRequest, heard: Heard) -> None:
    stop.look(heard, heard.tell_workers)  # type: ignore[arg-type]


def test_before_the_first_step_a_signal_ends_the_run_at_once() -> None:
    stop, heard = StopRequest(), Heard()
    look(stop, heard)
    assert not stop.by_signal()
    look(stop, heard)
    assert (heard.stages, heard.workers) == ([], 0)


def test_behind_a_step_the_first_signal_saves_and_the_second_ends_the_run_at_once() -> None:
    stop, heard = StopRequest(), Heard()
    stop.take([*RECORD.evaluations[:1], STEP])
    assert not stop.is_there
    assert stop.by_signal()
    assert stop.is_there
    for _ in range(2):
        look(stop, heard)
    assert (heard.stages, heard.workers) == (["Saving the training, which was told to stop"], 1)
    assert not stop.by_signal()


def test_the_end_of_the_pod_saves_as_well_and_a_signal_that_follows_is_the_first(tmp_path: Path) -> None:
    stop, heard = StopRequest(StopSign(tmp_path)), Heard()
    stop.take([STEP])
    assert not stop.is_there
    (tmp_path / "asked").touch()
    look(stop, heard)
    assert heard.workers == 1
    assert stop.by_signal()


def test_only_who_can_save_is_waited_for(tmp_path: Path) -> None:
    stop = StopRequest(StopSign(tmp_path))
    stop.take(RECORD.evaluations[:1])
    assert not list(tmp_path.iterdir())
    stop.take([STEP])
    assert [path.name for path in tmp_path.iterdir()] == ["processes"]


class Queue:
    """The records that went to the driver."""

    def __init__(self) -> None:
        self.put, self.records = SimpleNamespace(remote=self._put), list[Record]()

    def _put(self, record: Record) -> None:
        self.records.append(record)


def test_a_rank_hears_that_its_own_pod_ends_and_is_waited_for_once_a_step_is_done(tmp_path: Path) -> None:
    job = job_for("CausalLM", training={"checkpoints": {"everySteps": 5}})
    given: Any = SimpleNamespace(run=Run(job=job, run_id="run-1"), records=Queue())
    with group_of_one():
        rank = Outside(given, StopSign(tmp_path))
    rank.tell(RECORD.evaluations[0])
    assert not list(tmp_path.iterdir())
    rank.tell(STEP)
    assert [path.name for path in (tmp_path / "processes").iterdir()] == [str(os.getpid())]
    assert given.records.records == [RECORD.evaluations[0], STEP]
    assert not rank.stops()
    (tmp_path / "asked").touch()
    assert rank.stops()
