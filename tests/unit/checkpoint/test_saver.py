"""A training is saved while it goes on: when, and what happens where the store is slow, silent or another's."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any, cast

import pytest
import torch
from torch import nn

from kubetune_api.job import Checkpoints
from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.checkpoint.chain import Chain, read_chain
from kubetune_trainer.checkpoint.interval import RETRY, SHORTEST
from kubetune_trainer.checkpoint.resume import Resumed, resume
from kubetune_trainer.checkpoint.saver import Place, Saver
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StepRecord, StoredFile
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.going import Going
from kubetune_trainer.training.kept_weights import KeptWeights
from kubetune_trainer.training.watch import Watch
from kubetune_trainer.underway import NotSaved, Saved
from support.one_rank import group_of_one, trained_engine
from support.tiny_models import job_for, spec_for


class Later(Executor):
    """Does what it is given when it is told to, or at once."""

    at_once = False
    fails: Exception | None = None

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*arguments, **named)))
        if self.at_once:
            self.work(self.fails)
        return future

    def work(self, error: Exception | None = None) -> None:
        (future, done), *self.waiting = self.waiting
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(done())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def group() -> Iterator[None]:
    with group_of_one():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path.as_uri())


def going() -> Going:
    """A training of a few numbers, as an engine at stage 0 has them."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    engine = trained_engine(module, optimizer)
    weights = KeptWeights(engine)
    spec = spec_for("CausalLM", training={"keep": "Best"}, evaluation={"primaryMetric": "validation/loss"})
    return Going(engine, Watch(spec, weights, lambda value: value), weights)


def step(one: Going) -> StepRecord:
    """Each with random numbers of its own."""
    engine = one.engine
    loss = engine.module(torch.randn(4, 3)).square().mean()
    loss.backward()
    engine.optimizer.step()
    engine.lr_scheduler.step()
    engine.optimizer.zero_grad()
    number = engine.lr_scheduler.last_epoch
    return StepRecord(number, number / 10, loss.item(), engine.optimizer.param_groups[0]["lr"], 1.0, 4, 0.1)


def place(store: Store, execution: int = 1) -> Place:
    run = Run(job=job_for("CausalLM"), run_id="run-1", execution=execution)
    found = read_chain(store, run.run_id)
    chain = Chain(store, run, found.last)
    chain.begin()
    return Place(store, run, BatchPlan(100, 10, 5, 1, 3), {"spec.model": "x"}, chain.last, found.checkpoints)


def committed(store: Store) -> list[int]:
    return [one.step for one in read_chain(store, "run-1").checkpoints]


def resumed(store: Store, one: Going) -> Resumed:
    return resume(one, store, read_chain(store, "run-1").checkpoints, CausalLanguageModel(), Vocabulary(), 0)


def test_what_goes_on_is_what_would_have_gone_on(store: Store) -> None:
    first, records, later = going(), list[StepRecord](), Later()
    saver = Saver(place(store), Checkpoints(every_steps=3), records, executor=later)
    for number in range(1, 5):
        records.append(step(first))
        if number == 2:
            first.weights.keep()
            first.watch.restore({"best": -0.5, "bestStep": 2, "withoutImprovement": 1})
        saver.after(number, first)
        if later.waiting:
            later.work()
    undisturbed = [step(first) for _ in range(3)]
    other = going()
    step(other)
    found = resumed(store, other)
    assert found.step == 3
    assert found.history.steps == tuple(records[:3])
    assert [step(other) for _ in range(4)] == [records[3], *undisturbed]
    assert other.watch.state() == first.watch.state()
    for mine, theirs in zip(first.weights.held().values(), other.weights.held().values(), strict=True):
        assert torch.equal(mine.values, theirs.values)
    (checkpoint,) = read_chain(store, "run-1").checkpoints
    assert (checkpoint.epoch, checkpoint.rows_seen, checkpoint.workers) == (0, 30, 1)


def test_training_never_waits_and_what_is_due_meanwhile_comes_afterwards(store: Store) -> None:
    one, later = going(), Later()
    saver = Saver(place(store), Checkpoints(every_steps=2), [], executor=later)
    for number in range(1, 6):
        step(one)
        saver.after(number, one)
    assert len(later.waiting) == 1
    later.work()
    saver.after(6, one)
    assert committed(store) == []
    later.work()
    saver.after(7, one)
    assert committed(store) == [2]
    later.work()
    saver.after(8, one)
    later.work()
    assert committed(store) == [7, 2]


def test_the_time_makes_one_due_as_well(store: Store) -> None:
    one, later, clock = going(), Later(), Clock()
    saver = Saver(place(store), Checkpoints(every_seconds=60), [], executor=later, now=clock)
    for number, seconds in enumerate((0, 59, 60), 1):
        clock.now = seconds
        step(one)
        saver.after(number, one)
        assert len(later.waiting) == (seconds == 60)


def test_one_that_cannot_be_uploaded_does_not_end_the_training(store: Store) -> None:
    one, later, told = going(), Later(), list[Saved | NotSaved]()
    saver = Saver(place(store), Checkpoints(every_steps=2), [], told.append, executor=later)
    for number in range(1, 6):
        step(one)
        saver.after(number, one)
        if number == 3:
            later.work(RunError(Reason.STORAGE_FAILED, "the store does not answer"))
        elif later.waiting and number > 3:
            later.work()
    saver.after(6, one)
    later.work()
    assert committed(store) == [4]
    assert told[0] == NotSaved(2, "the store does not answer")
    assert isinstance(told[1], Saved)
    assert told[1].step == 4


def test_where_main_memory_has_no_room_for_a_copy_the_training_goes_on_without_it(store: Store) -> None:
    one, later, told, free = going(), Later(), list[Saved | NotSaved](), iter((10,))
    saver = Saver(
        place(store), Checkpoints(every_steps=2), [], told.append, executor=later, free=lambda: next(free, 10**9)
    )
    for number in range(1, 4):
        step(one)
        saver.after(number, one)
    (failure,) = told
    assert isinstance(failure, NotSaved)
    assert "takes 104 B of main memory for 1 worker, and 10 B are free" in failure.why
    step(one)
    saver.after(4, one)
    for number in (5, 6):
        later.work()
        saver.after(number, one)
    assert committed(store) == [4]


def test_a_commit_is_told_with_its_size_and_what_it_cost(store: Store, tmp_path: Path) -> None:
    one, later, told = going(), Later(), list[Saved | NotSaved]()
    ticks = count()
    saver = Saver(place(store), Checkpoints(every_steps=1), [], told.append, executor=later, now=lambda: next(ticks))
    step(one)
    saver.after(1, one)
    later.work()
    saver.after(2, one)
    later.work()
    (saved,) = told
    assert isinstance(saved, Saved)
    files = [path for path in tmp_path.rglob("step-*/*") if path.is_file()]
    assert (saved.step, saved.size_bytes) == (1, sum(path.stat().st_size for path in files))
    assert saved.stall_seconds > 0
    assert saved.upload_seconds > 0
    assert datetime.fromisoformat(saved.time).tzinfo is not None


class WithoutHistories(Store):
    """Takes no history."""

    def upload(self, file: Path, path: str, given_up: Callable[[], bool] = lambda: False) -> StoredFile:
        if path.endswith("history.json"):
            raise RunError(Reason.STORAGE_FAILED, "no space is left")
        return super().upload(file, path, given_up)


def test_what_was_uploaded_of_one_that_failed_is_removed(tmp_path: Path) -> None:
    one, later = going(), Later()
    saver = Saver(place(WithoutHistories.open(tmp_path.as_uri())), Checkpoints(every_steps=1), [], executor=later)
    step(one)
    saver.after(1, one)
    ((_, upload),) = later.waiting
    with pytest.raises(RunError, match="no space is left"):
        upload()
    assert list(tmp_path.rglob("step-*"))
    assert not [path for path in tmp_path.rglob("step-*/*") if path.is_file()]


def test_one_that_failed_is_tried_again_before_the_next_is_due(store: Store) -> None:
    one, later, clock = going(), Later(), Clock()
    saver = Saver(place(store), Checkpoints(every_steps=100), [], executor=later, now=clock)
    for number in range(100, 106):
        step(one)
        saver.after(number, one)
        if number == 101:
            later.work(RunError(Reason.STORAGE_FAILED, "the store does not answer"))
        elif later.waiting and number > 101:
            later.work()
        clock.now += RETRY
    assert committed(store) == [103]


def test_where_nothing_says_when_the_cost_does_and_it_is_told(store: Store) -> None:
    one, later, clock, told = going(), Later(), Clock(), list[Saved | NotSaved]()
    saver = Saver(place(store), Checkpoints(), [], told.append, executor=later, now=clock)
    for number in range(1, 6):
        step(one)
        clock.now += 25
        saver.after(number, one)
        if later.waiting and number > 3:
            later.work()
    assert committed(store) == [3]
    assert isinstance(told[0], Saved)
    assert told[0].interval_seconds == SHORTEST


def test_older_ones_are_removed_once_a_newer_one_is_committed(store: Store, tmp_path: Path) -> None:
    one, later = going(), Later()
    saver = Saver(place(store), Checkpoints(every_steps=1, retain=1), [], executor=later)
    for number in range(1, 6):
        step(one)
        saver.after(number, one)
        while later.waiting:
            later.work()
    assert committed(store) == [3, 1]
    (kept,) = (path.parent.name for path in tmp_path.rglob("history.json") if "00000005" not in path.parent.name)
    assert kept == "step-00000003"
    assert resumed(store, going()).step == 3


def test_one_that_cannot_be_used_takes_no_place_of_those_that_are_retained(store: Store, tmp_path: Path) -> None:
    one, later = going(), Later()
    later.at_once = True
    first = Saver(place(store), Checkpoints(every_steps=1, retain=2), [], executor=later)
    for number in range(1, 5):
        step(one)
        first.after(number, one)
    assert committed(store)[:2] == [3, 1]
    second = Saver(place(store, execution=2), Checkpoints(every_steps=1, retain=2), [], executor=later)
    second.went_on(1)
    for number in range(2, 4):
        step(one)
        second.after(number, one)
    assert committed(store)[0] == 2
    there = read_chain(store, "run-1").checkpoints
    whole = [one.step for one in there if all((tmp_path / file.name).exists() for file in one.files)]
    assert whole == [2, 3, 1]


def test_who_was_replaced_is_told_so_and_leaves_nothing_but_what_was_committed(store: Store, tmp_path: Path) -> None:
    one, later = going(), Later()
    saver = Saver(place(store), Checkpoints(every_steps=2), [], executor=later)
    for number in range(1, 5):
        step(one)
        saver.after(number, one)
        if number == 4:
            place(store, execution=2)
        while later.waiting:
            later.work()
    assert committed(store) == [2]
    saver.after(5, one)
    later.work()
    with pytest.raises(RunError, match="another execution of this run has begun"):
        saver.after(6, one)
    assert committed(store) == [2]
    assert {path.parent.name for path in tmp_path.rglob("*.safetensors")} == {"step-00000002"}


def test_quick_steps_are_saved_exactly_where_they_are_due(store: Store) -> None:
    """However rarely the ranks ask each other."""
    one, later, clock, begun = going(), Later(), Clock(), list[int]()
    saver = Saver(place(store), Checkpoints(every_steps=37), [], executor=later, now=clock)
    for number in range(1, 200):
        clock.now += 0.01
        saver.after(number, one)
        if later.waiting and number % 37 == 0:
            begun.append(number)
        while later.waiting:
            later.work()
    assert begun == [37, 74, 111, 148, 185]
    assert committed(store) == begun[::-1]


class Stop:
    """Whether a training is to stop."""

    asked = False

    def __call__(self) -> bool:
        return self.asked


def told_to_stop(saver: Saver, number: int, one: Going) -> str:
    with pytest.raises(RunError) as ended:
        saver.after(number, one)
    assert ended.value.reason == Reason.INTERRUPTED
    return ended.value.message


def test_one_that_is_told_to_stop_saves_the_very_step_and_waits_until_it_is_committed(store: Store) -> None:
    one, stop = going(), Stop()
    with Saver(place(store), Checkpoints(every_steps=100), [], stops=stop) as saver:
        for number in (1, 2):
            step(one)
            saver.after(number, one)
        step(one)
        stop.asked = True
        said = told_to_stop(saver, 3, one)
    assert said == (
        "the training was told to stop, and did so behind step 3, which is saved; the next attempt goes on from there"
    )
    assert committed(store) == [3]
    undisturbed, other = step(one), going()
    resumed(store, other)
    assert step(other) == undisturbed


class SlowStore:
    """A store that gets the first bytes of a file, and then no more until the upload is given up."""

    def __init__(self, store: Store) -> None:
        self._store, self.begun = store, Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def upload(self, file: Path, path: str, given_up: Callable[[], bool] = lambda: False) -> StoredFile:
        pieces = count()

        def waits() -> bool:
            if not self.begun.is_set() and next(pieces) == 2:
                self.begun.set()
                while not given_up():
                    sleep(0.01)
            return given_up()

        return self._store.upload(file, path, waits)


def slow_saver(store: Store, one: Going, stops: Callable[[], bool] = lambda: False) -> Saver:
    """With the upload of the first step under way."""
    one.engine.module.weight.data = torch.zeros(2, 2_000_000)
    slow = SlowStore(store)
    saver = Saver(replace(place(store), store=cast(Store, slow)), Checkpoints(every_steps=1), [], stops=stops)
    saver.after(1, one)
    assert slow.begun.wait(60)
    return saver


def test_an_upload_that_is_under_way_gives_way_to_the_newer_step(store: Store, tmp_path: Path) -> None:
    one, stop = going(), Stop()
    saver = slow_saver(store, one, stop)
    stop.asked = True
    told_to_stop(saver, 2, one)
    assert committed(store) == [2]
    assert {path.parent.name for path in tmp_path.rglob("*.safetensors")} == {"step-00000002"}


def test_what_is_there_and_only_not_committed_is_committed_first(store: Store) -> None:
    one, stop, later = going(), Stop(), Later()
    saver = Saver(place(store), Checkpoints(every_steps=1), [], stops=stop, executor=later)
    step(one)
    saver.after(1, one)
    later.work()
    stop.asked = True
    later.at_once = True
    told_to_stop(saver, 2, one)
    assert committed(store) == [2, 1]


def test_where_the_step_cannot_be_saved_it_says_from_which_one_the_next_attempt_goes_on(store: Store) -> None:
    one, stop, later = going(), Stop(), Later()
    saver = Saver(place(store), Checkpoints(every_steps=1), [], stops=stop, executor=later)
    later.at_once = True
    for number in (1, 2):
        saver.after(number, one)
    stop.asked, later.fails = True, RunError(Reason.STORAGE_FAILED, "the store does not answer")
    said = told_to_stop(saver, 3, one)
    assert said.endswith("goes on from step 1, as that step could not be saved: the store does not answer")


def test_without_any_checkpoint_the_next_attempt_begins_anew(store: Store) -> None:
    one, stop, later = going(), Stop(), Later()
    later.at_once, later.fails, stop.asked = True, OSError("no"), True
    saver = Saver(place(store), Checkpoints(every_steps=9), [], stops=stop, executor=later)
    assert "the next attempt begins anew, as that step could not be saved: " in told_to_stop(saver, 1, one)


def test_who_was_replaced_and_is_told_to_stop_hears_that_another_goes_on(store: Store) -> None:
    one, stop, later = going(), Stop(), Later()
    saver = Saver(place(store), Checkpoints(every_steps=9), [], stops=stop, executor=later)
    place(store, execution=2)
    later.at_once = stop.asked = True
    assert "another execution of this run has begun" in told_to_stop(saver, 1, one)
    assert committed(store) == []


def test_an_upload_that_is_under_way_at_the_end_is_given_up(store: Store, tmp_path: Path) -> None:
    saver = slow_saver(store, going())
    with saver:
        pass
    assert not list(tmp_path.rglob("*.safetensors"))


def test_what_was_recorded_is_written_once_and_kept_as_long_as_a_checkpoint_names_it(
    store: Store, tmp_path: Path
) -> None:
    one, later, records = going(), Later(), list[StepRecord]()
    saver = Saver(place(store), Checkpoints(every_steps=1, retain=1), records, executor=later)
    for number in range(1, 6):
        records.append(step(one))
        saver.after(number, one)
        while later.waiting:
            later.work()
    checkpoint, *_ = read_chain(store, "run-1").checkpoints
    assert [file.path.split("/")[-2] for file in checkpoint.records] == ["step-00000001", "step-00000003"]
    found = resumed(store, going())
    assert (found.step, found.history.steps) == (3, tuple(records[:3]))
    store.delete(checkpoint.records[0].path)
    found = resumed(store, going())
    assert found.step == 0
    assert "step-00000001/records.json is missing" in found.skipped[0]
