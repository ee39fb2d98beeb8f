"""A run's journal: its steps and evaluations in the store while it goes on, so that they outlive the process.

Object stores cannot append, so the journal is a folder of numbered segments, each created once. Their lines, segment
after segment, are those of `metrics.jsonl`, which is what a run publishes: the journal is in no manifest.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Self

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import Listener
from kubetune_trainer.handoff import Record, WorkerResult
from kubetune_trainer.records import EvaluationRecord, StepRecord, TrainingEnd, in_order
from kubetune_trainer.report import metric_line
from kubetune_trainer.storage.store import Store
from kubetune_trainer.underway import Passing, Resumption

SEGMENT_SECONDS = 30.0
"""The least time between two segments."""
_SEGMENT_SHARE = 50
"""A segment is at least this part of the run's age, so that the segments of a long run are hundreds, not thousands."""
LAST_SECONDS = 5.0
"""How long the end of the journal is waited for."""
_log = logging.getLogger(__name__)


def journaled(store: Store, folder: str, listener: Listener, work: Callable[["Journal"], WorkerResult]) -> WorkerResult:
    """What `work` returns, which hands its records to the journal that it is given; a note tells of what is missing.

    Records that got lost on their way to the journal are taken from the result.
    """
    with Journal(store, folder) as journal:
        result = work(journal)
        journal(in_order(result.steps, result.evaluations, result.end))
    if gap := journal.gap:
        listener.note(gap)
    return result


class Journal:
    """Takes records and writes them to the store while its block lasts, in a thread of its own.

    No error of the store ends the run: what could not be written is written with the next segment.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        seconds: float = SEGMENT_SECONDS,
        last_seconds: float = LAST_SECONDS,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._store, self._folder = store, folder
        self._seconds, self._last_seconds, self._now = seconds, last_seconds, now
        self._lock = threading.Lock()
        """Held wherever one of the next six is used, and never while the store is asked."""
        self._taken: set[tuple[str, int, bool]] = set()
        self._lines: list[str] = []
        self._pending: deque[bytes] = deque()
        """Segments that are not in the store yet. They stay as they are: one may be there without our knowing."""
        self._written = 0
        self._error: Exception | None = None
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_until_the_end, name="journal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(self._last_seconds)
        with self._lock:
            self._ended = True

    def __call__(self, records: Iterable[Record]) -> None:
        """Takes the next records, in order; those that it has had already are left out."""
        with self._lock:
            for record in _unfolded(records):
                if isinstance(record, Passing):
                    continue
                key = _key(record)
                if key not in self._taken:
                    self._lines.append(f"{metric_line(record)}\n")
                    self._taken.add(key)

    @property
    def gap(self) -> str | None:
        """Why the end of the journal is missing, in a sentence; None if it is whole. Final once the block is left."""
        with self._lock:
            if not (self._lines or self._pending):
                return None
            return f"the journal lacks the last records: {_why(self._error)}"

    def _write_until_the_end(self) -> None:
        started = self._now()
        while not self._stop.wait(seconds_to_next(self._now() - started, self._seconds)):
            self.write()
        self.write()

    def write(self) -> None:
        """Writes what was taken since the last time as one segment, behind those that the store did not take yet."""
        with self._lock:
            if self._lines:
                self._pending.append("".join(self._lines).encode())
                self._lines.clear()
        try:
            while self._write_next():
                pass
        except Exception as error:  # whatever it was, the next segment may be written
            unexpected = not isinstance(error, RunError)
            _log.warning("The journal could not be written, it will be tried again: %s", error, exc_info=unexpected)
            with self._lock:
                if not self._ended:
                    self._error = error

    def _write_next(self) -> bool:
        """Whether there was a segment to write, and it is in the store now."""
        with self._lock:
            if self._ended or not self._pending:
                return False
            path, data = f"{self._folder}/journal/{self._written + 1:06}.jsonl", self._pending[0]
        if not self._store.create(path, data):
            raise RunError(Reason.STORAGE_FAILED, f"{self._store.uri(path)} is there, and this run did not write it")
        with self._lock:
            if self._ended:
                return False
            self._pending.popleft()
            self._written += 1
            self._error = None
        return True


def _unfolded(
    records: Iterable[Record],
) -> Iterator[StepRecord | EvaluationRecord | Passing | TrainingEnd]:
    """Those of earlier executions come first: each journal is whole."""
    for record in records:
        yield from record.records if isinstance(record, Resumption) else (record,)


def _key(record: StepRecord | EvaluationRecord | TrainingEnd) -> tuple[str, int, bool]:
    """What is told again of the published weights, with all that the report shows, is a line of its own."""
    if isinstance(record, EvaluationRecord):
        return record.split, record.step, bool(record.worst)
    return type(record).__name__, record.step, False


def seconds_to_next(age: float, least: float = SEGMENT_SECONDS) -> float:
    """The time to the next segment of a run that is `age` seconds old: what a process that dies takes with it."""
    return max(least, age / _SEGMENT_SHARE)


def _why(error: Exception | None) -> str:
    match error:
        case None:
            return "the store did not answer in time"
        case RunError():
            return error.message
        case _:
            return f"{type(error).__name__}: {error}"
