"""The journal of a run: what outlives a process that dies, and that no store can end a run by it."""

from pathlib import Path
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.journal import Journal, read_journal
from kubetune_trainer.records import EvaluationRecord, StepRecord
from kubetune_trainer.report import metric_line, write_metrics
from kubetune_trainer.storage.store import Store
from support.run_records import classification

RECORD = classification()
FOLDER = "executions/1"


def as_they_came() -> list[StepRecord | EvaluationRecord]:
    """The records of a run, in the order in which rank 0 puts them."""
    return sorted([*RECORD.steps, *RECORD.evaluations], key=lambda record: record.step)


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
        ("step" if isinstance(record, StepRecord) else "evaluation", record.step) for record in as_they_came()
    ]
    assert [file.name for file in journal.files][:2] == [
        "executions/1/journal/000001.jsonl",
        "executions/1/journal/000002.jsonl",
    ]
    assert len(journal.files) == len(as_they_came())


def test_segment_after_segment_it_is_the_metrics_file(store: Store, tmp_path: Path) -> None:
    journal = Journal(store, FOLDER)
    write_one_by_one(journal)
    write_metrics(RECORD, tmp_path / "metrics.jsonl")
    segments = b"".join(store.get(file.name) for file in journal.files)
    assert segments == (tmp_path / "metrics.jsonl").read_bytes()


def test_the_end_of_the_block_writes_what_is_left(store: Store) -> None:
    with Journal(store, FOLDER, seconds=1000) as journal:
        journal(as_they_came())
    assert journal.gap is None
    (segment,) = journal.files
    assert store.get(segment.name).decode().splitlines() == [metric_line(record) for record in as_they_came()]


def test_a_run_without_records_has_no_journal(store: Store) -> None:
    with Journal(store, FOLDER, seconds=1000) as journal:
        pass
    assert (journal.files, journal.gap, list(read_journal(store, FOLDER))) == ((), None, [])


@pytest.mark.parametrize("keeps", [False, True], ids=["it was away", "its answer got lost"])
def test_what_a_store_denied_is_written_with_the_next_segment_and_once(tmp_path: Path, keeps: bool) -> None:
    store: Any = FailingStore.open((tmp_path / "store").as_uri())
    store.keeps_what_it_denies = keeps
    journal = Journal(store, FOLDER)
    first, *rest = as_they_came()
    journal([first])
    journal.write()
    assert journal.files == ()
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
    assert journal.files == ()
    assert journal.gap == "the journal lacks the last records: The store is away."
