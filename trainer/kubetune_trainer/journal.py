"""A run's journal: its steps and evaluations in the store while it goes on, so that they outlive the process.

Object stores cannot append, so the journal is a folder of numbered segments, each created once. Their lines, segment
after segment, are those of `metrics.jsonl`.
"""

import hashlib
import json
import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Self

from kubetune_trainer.errors import RunError
from kubetune_trainer.records import EvaluationRecord, StepRecord, StoredFile
from kubetune_trainer.report import metric_line
from kubetune_trainer.storage.store import Store

SEGMENT_SECONDS = 30.0
"""The time between two segments: what a process that dies takes with it at most."""
LAST_SECONDS = 5.0
"""How long the end of the journal is waited for."""
_log = logging.getLogger(__name__)


class Journal:
    """Takes records and writes them to the store while its block lasts, in a thread of its own.

    No error of the store ends the run: what could not be written is written with the next segment.
    """

    def __init__(self, store: Store, folder: str, *, seconds: float = SEGMENT_SECONDS) -> None:
        self._store, self._folder, self._seconds = store, folder, seconds
        self._lines: deque[str] = deque()
        self._pending: deque[bytes] = deque()
        """Segments that are not in the store yet. They stay as they are: one may be there without our knowing."""
        self._written: list[StoredFile] = []
        self._error: RunError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_until_the_end, name="journal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(LAST_SECONDS)

    def __call__(self, records: Iterable[StepRecord | EvaluationRecord]) -> None:
        """Takes the next records, in order."""
        self._lines.extend(f"{metric_line(record)}\n" for record in records)

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """The segments that are in the store, in order; their names are relative to it."""
        return tuple(self._written)

    @property
    def gap(self) -> str | None:
        """Why the end of the journal is missing, in a sentence; None if it is whole."""
        if not (self._thread.is_alive() or self._lines or self._pending):
            return None
        why = self._error.message if self._error else "the store did not answer in time"
        return f"the journal lacks the last records: {why}"

    def _write_until_the_end(self) -> None:
        while not self._stop.wait(self._seconds):
            self.write()
        self.write()

    def write(self) -> None:
        """Writes what was taken since the last time as one segment, behind those that the store did not take yet."""
        if lines := [self._lines.popleft() for _ in range(len(self._lines))]:
            self._pending.append("".join(lines).encode())
        while self._pending:
            data = self._pending[0]
            path = f"{self._folder}/journal/{len(self._written) + 1:06}.jsonl"
            try:
                created = self._store.create(path, data)
            except RunError as error:
                self._error = error
                _log.warning("The journal could not be written, it will be tried again: %s", error)
                return
            assert created, "an execution has one process that writes, and that one counts its segments"
            self._written.append(StoredFile(path, len(data), hashlib.sha256(data).hexdigest()))
            self._pending.popleft()


def read_journal(store: Store, folder: str) -> Iterator[dict[str, Any]]:
    """The lines of the journal of the execution in `folder`, in order, as `metrics.jsonl` has them."""
    for segment in store.children(f"{folder}/journal")[1]:
        yield from map(json.loads, store.get(segment.path).decode().splitlines())
