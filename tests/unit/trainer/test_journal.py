"""The journal of a run: what outlives a process that dies, and that no store can end a run by it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from io import StringIO
from itertools import chain, repeat
from pathlib import Path
from threading import Event
from threading import enumerate as all_threads
from typing import Any

import pytest
import ray

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import JsonLinesListener
from kubetune_trainer.figures import Interval
from kubetune_trainer.handoff import Record, WorkerResult
from kubetune_trainer.journal import Journal, journaled, seconds_to_next
from kubetune_trainer.ray_runtime import RemoteRecords
from kubetune_trainer.record_reader import RecordReader
from kubetune_trainer.records import (
    EvaluationRecord,
    Expectation,
    StepRecord,
    TrainingEnd,
    in_order,
    latest,
)
from kubetune_trainer.report import metric_line, write_metrics
from kubetune_trainer.shown_rows import WorstRow
from kubetune_trainer.storage.store import Store
from kubetune_trainer.underway import Resumption
from support.run_records import classification

RECORD = classification()
FOLDER = "executions/1"
TYPES: dict[type, str] = {StepRecord: "step", EvaluationRecord: "evaluation", TrainingEnd: "end"}


def as_they_came() -> list[StepRecord | EvaluationRecord | TrainingEnd]:
    """The records of a run, in the order in which rank 0 puts them."""
    return in_order(RECORD.steps, RECORD.evaluations, RECORD.end)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri())


class FailingStore(Store):
    """A store that takes nothing for its first `failures` requests, or takes it and loses the answer."""

    failures = 1
    keeps_what_it_denies = False

    def create(self, path: str, data: bytes) -> bool:
        if self.failures:
            self.failures -= 1
            if self.keeps_what_it_denies:
                super().create(path, data)
            raise RunError(Reason.STORAGE_FAILED, "The store is away.")
        return super().create(path, data)


def segments(store: Store) -> list[str]:
    """The paths of the segments that are in the store."""
    return [segment.path for segment in store.children(f"{FOLDER}/journal")[1]]


def read_journal(store: Store, folder: str) -> Iterator[dict[str, Any]]:
    """The lines of the journal of the execution in `folder`, in order, as `metrics.jsonl` has them."""
    for segment in store.children(f"{folder}/journal")[1]:
        yield from map(json.loads, store.get(segment.path).decode().splitlines())


def write_one_by_one(journal: Journal) -> None:
    """Each record in a segment of its own, without waiting for the time of one."""
    for record in as_they_came():
        journal([record])
        journal.write()


def test_what_was_written_is_read_back_in_order(store: Store) -> None:
    journal = Journal(store, FOLDER)
    write_one_by_one(journal)
    lines = list(read_journal(store, FOLDER))
    assert [(line["type"], line["step"]) for line in lines] == [
        (TYPES[type(record)], record.step) for record in as_they_came()
    ]
    assert segments(store)[:2] == ["executions/1/journal/000001.jsonl", "executions/1/journal/000002.jsonl"]
    assert len(segments(store)) == len(as_they_came())


def test_segment_after_segment_it_is_the_metrics_file(store: Store, tmp_path: Path) -> None:
    journal = Journal(store, FOLDER)
    write_one_by_one(journal)
    write_metrics(RECORD, tmp_path / "metrics.jsonl")
    assert b"".join(map(store.get, segments(store))) == (tmp_path / "metrics.jsonl").read_bytes()


def test_what_is_told_again_of_the_published_weights_is_a_line_of_its_own(store: Store) -> None:
    plain = EvaluationRecord("validation", 2, 1.0, {"loss": 0.5})
    whole = replace(plain, worst=(WorstRow(3, 1.0, None),), intervals={"loss": Interval(0.4, 0.6)})
    assert latest([plain, whole]) == (whole,)
    with Journal(store, FOLDER, seconds=1000) as journal:
        journal([plain])
        journal([whole, whole])
    assert [line.get("intervals") for line in read_journal(store, FOLDER)] == [None, {"loss": [0.4, 0.6]}]


def test_what_an_earlier_execution_recorded_comes_first(store: Store) -> None:
    *earlier, end = as_they_came()
    known = tuple(record for record in earlier if isinstance(record, StepRecord | EvaluationRecord))
    with Journal(store, FOLDER, seconds=1000) as journal:
        journal([Resumption(known[-1].step, (), known)])
        journal([end])
    assert [(line["type"], line["step"]) for line in read_journal(store, FOLDER)] == [
        (TYPES[type(record)], record.step) for record in (*known, end)
    ]


def test_the_end_of_the_block_writes_what_is_left(store: Store) -> None:
    with Journal(store, FOLDER, seconds=1000) as journal:
        journal(as_they_came())
    assert journal.gap is None
    (segment,) = segments(store)
    assert store.get(segment).decode().splitlines() == [metric_line(record) for record in as_they_came()]


def test_a_run_without_records_has_no_journal(store: Store) -> None:
    with Journal(store, FOLDER, seconds=1000) as journal:
        pass
    assert (segments(store), journal.gap, list(read_journal(store, FOLDER))) == ([], None, [])


@pytest.mark.parametrize("keeps", [False, True], ids=["it was away", "its answer got lost"])
def test_what_a_store_denied_is_written_with_the_next_segment_and_once(tmp_path: Path, keeps: bool) -> None:
    store: Any = FailingStore.open((tmp_path / "store").as_uri())
    store.keeps_what_it_denies = keeps
    journal = Journal(store, FOLDER)
    first, *rest = as_they_came()
    journal([first])
    journal.write()
    assert len(segments(store)) == keeps
    assert journal.gap == "the journal lacks the last records: The store is away."
    journal(rest)
    journal.write()
    assert journal.gap is None
    assert [line["step"] for line in read_journal(store, FOLDER)] == [record.step for record in as_they_came()]


def test_a_store_that_stays_away_ends_nothing_and_is_told(tmp_path: Path) -> None:
    store: Any = FailingStore.open((tmp_path / "store").as_uri())
    store.failures = 1000
    with Journal(store, FOLDER, seconds=1000) as journal:
        journal(as_they_came())
    assert segments(store) == []
    assert journal.gap == "the journal lacks the last records: The store is away."


class BrokenStore(Store):
    """A store whose first creation goes wrong in a way that nobody foresaw."""

    works = False

    def create(self, path: str, data: bytes) -> bool:
        if not self.works:
            self.works = True
            raise ValueError("no store does this")
        return super().create(path, data)


def test_an_error_that_nobody_foresaw_is_told_and_the_next_segment_is_tried(tmp_path: Path) -> None:
    store: Any = BrokenStore.open((tmp_path / "store").as_uri())
    journal = Journal(store, FOLDER)
    journal(as_they_came())
    journal.write()
    assert journal.gap == "the journal lacks the last records: ValueError: no store does this"
    with journal:
        pass
    assert journal.gap is None
    assert len(list(read_journal(store, FOLDER))) == len(as_they_came())


def test_a_segment_that_another_process_wrote_is_told(store: Store) -> None:
    store.create(f"{FOLDER}/journal/000001.jsonl", b"{}\n")
    with Journal(store, FOLDER, seconds=1000) as journal:
        journal(as_they_came())
    assert journal.gap == (
        f"the journal lacks the last records: {store.uri(f'{FOLDER}/journal/000001.jsonl')} is there, and this run did"
        " not write it"
    )


class StalledStore(Store):
    """A store that fails once, and then answers no request before it is released."""

    asked: Event
    released: Event

    def create(self, path: str, data: bytes) -> bool:
        if not self.asked.is_set():
            self.asked.set()
            raise RunError(Reason.STORAGE_FAILED, "The store is away.")
        self.released.wait()
        return super().create(path, data)


def test_after_its_end_a_journal_writes_nothing_more_and_says_what_it_said(tmp_path: Path) -> None:
    store: Any = StalledStore.open((tmp_path / "store").as_uri())
    store.asked, store.released = Event(), Event()
    first, *rest = as_they_came()
    journal = Journal(store, FOLDER, seconds=1000, last_seconds=0.01)
    journal([first])
    journal.write()
    with journal:
        journal(rest)
    told = journal.gap
    store.released.set()
    for thread in all_threads():
        if thread.name == "journal":
            thread.join()
    # The request that was on its way when the block ended cannot be taken back.
    assert segments(store) == [f"{FOLDER}/journal/000001.jsonl"]
    assert told is not None
    assert journal.gap == told


def test_segments_are_half_a_minute_apart_at_first_and_a_fiftieth_of_the_age_later() -> None:
    assert [seconds_to_next(age) for age in (0.0, 1500.0, 3000.0, 86400.0)] == [30.0, 30.0, 60.0, 1728.0]


def test_a_run_of_a_month_has_hundreds_of_segments() -> None:
    age, count = 0.0, 0
    while age < 30 * 86400:
        age, count = age + seconds_to_next(age), count + 1
    assert count < 500


def test_an_old_run_waits_for_longer(store: Store) -> None:
    ages = chain([0.0], repeat(1e6))
    with Journal(store, FOLDER, seconds=0.0, now=lambda: next(ages)) as journal:
        for record in as_they_came():
            journal([record])
    assert len(segments(store)) == 1


@dataclass
class FakeQueue:
    """A queue of Ray that gives out its batches, one to each call, and raises those that are errors."""

    batches: list[list[Record] | Exception]
    all_asked: Event = field(default_factory=Event)

    @property
    def take(self) -> Any:
        return self

    def remote(self) -> Callable[[], list[Record]]:
        batch = self.batches.pop(0) if self.batches else []
        if not self.batches:
            self.all_asked.set()

        def answer() -> list[Record]:
            if isinstance(batch, Exception):
                raise batch
            return batch

        return answer


@pytest.fixture
def _answers_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda answer, timeout: answer())


def result() -> WorkerResult:
    """What rank 0 returned at the end of the run of RECORD."""
    expected = Expectation(shapes={}, base_names={})
    return WorkerResult("bert", "cpu", expected, 1, 1, RECORD.steps, RECORD.evaluations, RECORD.end, (), ())


@pytest.mark.usefixtures("_answers_without_ray")
@pytest.mark.parametrize(
    "error",
    [ray.exceptions.RayError("the queue died"), ray.exceptions.GetTimeoutError("too busy")],
    ids=["the queue died", "it was too busy at the end"],
)
def test_records_that_got_lost_on_their_way_are_taken_from_the_result(store: Store, error: Exception) -> None:
    events = StringIO()
    queue = FakeQueue([as_they_came()[:700], error])

    def work(journal: Journal) -> WorkerResult:
        with RecordReader(RemoteRecords(queue).take, journal):
            assert queue.all_asked.wait(10)
        return result()

    assert journaled(store, FOLDER, JsonLinesListener(events), work) == result()
    lines = [(line["type"], line["step"]) for line in read_journal(store, FOLDER)]
    assert lines == [(TYPES[type(record)], record.step) for record in as_they_came()]
    assert events.getvalue() == ""


def test_a_gap_is_told_as_a_note(tmp_path: Path) -> None:
    store: Any = FailingStore.open((tmp_path / "store").as_uri())
    store.failures = 1000
    events = StringIO()
    journaled(store, FOLDER, JsonLinesListener(events), lambda _: result())
    assert "the journal lacks the last records: The store is away." in events.getvalue()


@pytest.mark.usefixtures("_answers_without_ray")
def test_a_taker_that_fails_costs_neither_the_others_nor_the_next_records() -> None:
    first, second, *_ = as_they_came()
    taken: list[Record] = []
    queue = FakeQueue([[first], [second]])

    def refuse(records: list[Record]) -> None:
        raise ValueError(f"not {records}")

    with RecordReader(RemoteRecords(queue).take, refuse, taken.extend):
        assert queue.all_asked.wait(10)
    assert taken == [first, second]
