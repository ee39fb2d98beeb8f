"""What a run in a cluster tells the operator: the newest report, in a ConfigMap, by a thread of its own.

The training never waits for the API server, and no error of it ends a run.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Self

from kubetune_api.data_counts import DataCounts
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.run_report import RunReport
from kubetune_api.status import CheckpointStatus, FineTuneJobStatus, Progress
from kubetune_trainer.config_map import ReportError
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.shown_rows import Sample

PROGRESS_SECONDS = 5.0
"""The shortest time between two reports of mere progress."""
LAST_SECONDS = 60.0
"""How long the last report is tried before the process ends without it."""
_LONGEST_RETRY = 15.0
_log = logging.getLogger(__name__)


@dataclass
class ReportSchedule:
    """When the newest report goes out. The times are seconds, of any clock that never goes back."""

    first_retry: float = 1.0
    """The wait after a failure; it doubles with each further one."""
    due: float = inf
    """When the next report is to go; never, while nothing is new."""
    _not_before: float = -inf
    _failures: int = 0

    def when_convenient(self, now: float) -> None:
        """There is something new, of no hurry."""
        self.due = min(self.due, max(now, self._not_before))

    def at_once(self, now: float) -> None:
        """There is something new that people wait for."""
        self.due = now

    def taken(self, now: float) -> None:
        """The newest report is under way."""
        self.due, self._not_before = inf, now + PROGRESS_SECONDS

    def arrived(self) -> None:
        """It has arrived."""
        self._failures = 0

    def failed(self, now: float) -> None:
        """It has not: the newest is to go again, later each time."""
        self._not_before = now + min(self.first_retry * 2.0**self._failures, _LONGEST_RETRY)
        # Counted no further than that: the API server may be away for days.
        self._failures = min(self._failures + 1, 30)
        self.due = min(self.due, self._not_before)


class StatusReporter:
    """A listener that sends reports while its block lasts. At the end it waits for the last one, within limits."""

    def __init__(
        self,
        attempt: int,
        write: Callable[[str], None],
        *,
        clock: Callable[[], float] = monotonic,
        schedule: ReportSchedule | None = None,
        patience: float = LAST_SECONDS,
    ) -> None:
        self._report = RunReport(attempt=attempt)
        self._write, self._clock, self._patience = write, clock, patience
        self._schedule = schedule or ReportSchedule()
        self._deadline = inf
        # Its lock is one that a signal's handler may take once more in the thread that holds it.
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._deliver, name="reports", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Waits for the last report, within limits."""
        with self._changed:
            self._deadline = self._clock() + self._patience
            self._changed.notify()
        # A server that sends its answer in drops may hold the thread for longer; the process ends all the same.
        self._thread.join(self._patience)

    def stage(self, text: str) -> None:
        """See `Listener`."""
        self._tell(self._schedule.at_once, doing=text)

    def claimed(self, execution: int) -> None:
        """See `Listener`."""
        self._tell(self._schedule.at_once, execution=execution)

    def note(self, text: str) -> None:
        """See `Listener`; a report has no room for it."""

    def data(self, counts: DataCounts, samples: Sequence[Sample]) -> None:  # noqa: ARG002 - no room for texts
        """See `Listener`."""
        self._tell(self._schedule.when_convenient, data=counts)

    def resolved(self, settings: ResolvedSettings) -> None:
        """See `Listener`; what follows from the end of the run depends on it."""
        self._tell(self._schedule.at_once, resolved=settings)

    def progress(self, progress: Progress) -> None:
        """See `Listener`."""
        self._tell(self._schedule.when_convenient, progress=progress)

    def checkpoint(self, known: CheckpointStatus) -> None:
        """See `Listener`."""
        self._tell(self._schedule.when_convenient, checkpoint=known)

    def evaluated(self, record: EvaluationRecord) -> None:
        """See `Listener`; the metrics come with the end."""

    def finished(self, status: FineTuneJobStatus) -> None:
        """See `Listener`; of two endings the first counts."""
        if self._report.finished is None:
            self._tell(self._schedule.at_once, finished=status)

    def _tell(self, mark: Callable[[float], None], **news: Any) -> None:
        with self._changed:
            self._report = self._report.model_copy(update=news)
            mark(self._clock())
            self._changed.notify()

    def _deliver(self) -> None:
        while (report := self._next()) is not None:
            try:
                self._write(report.model_dump_json(by_alias=True, exclude_none=True))
            except ReportError as error:
                _log.warning("A report did not arrive, the newest will be sent again: %s", error)
                with self._changed:
                    self._schedule.failed(self._clock())
            else:
                with self._changed:
                    self._schedule.arrived()

    def _next(self) -> RunReport | None:
        """The newest report, as soon as it may go; None once there will be none."""
        with self._changed:
            while (now := self._clock()) < self._deadline:
                if self._schedule.due <= now:
                    self._schedule.taken(now)
                    return self._report
                until = min(self._schedule.due, self._deadline)
                if self._schedule.due == inf and self._deadline < inf:
                    return None
                self._changed.wait(None if until == inf else until - now)
            return None
