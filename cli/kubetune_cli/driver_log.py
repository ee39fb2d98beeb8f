"""A driver's log for people: its events in the sentences of `kubetune run`; the lines of Ray and others on request.

Everything in a log is a tenant's: what is not an event as the trainer writes it is a line like any other.
"""

import json
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from kubetune_api.reasons import Reason
from kubetune_api.status import FineTuneJobStatus
from kubetune_cli.jobs import LogLine
from kubetune_cli.progress import PlainLines
from kubetune_cli.results import failure_of, places_of
from kubetune_cli.text import log_line

_TRACEBACK = "Traceback (most recent call last):"
_KEPT, _SHOWN = 400, 20
"""How many of the lines that are left out are kept, and how many of them stand for a trainer that ended without a
message."""


class RawLog:
    """A log of any other pod: every line as it is."""

    left_out = 0

    def __init__(self) -> None:
        self.last = ""
        """The time of the last line."""

    def read(self, line: LogLine) -> Iterator[str]:
        """The lines to show for the next one."""
        self.last = max(self.last, line.time)
        yield log_line(line.text)

    def end(self) -> Iterator[str]:
        """The lines to show once the log is complete."""
        return iter(())


class DriverLog:
    """A driver's log. The lines between its events are left out unless it is `verbose`."""

    def __init__(self, *, verbose: bool) -> None:
        self.last = ""
        """The time of the last line."""
        self.left_out = 0
        """How many lines were not shown."""
        self._verbose = verbose
        self._kept: deque[str] = deque(maxlen=_KEPT)
        self._finished = False
        # Not by our clock: a log may be read long after it was written.
        self._lines = PlainLines(lambda: _seconds(self.last))

    def read(self, line: LogLine) -> Iterator[str]:
        """The lines to show for the next one."""
        self.last = max(self.last, line.time)
        sentences = self._sentences(line.text)
        if sentences is not None:
            yield from (log_line(part) for part in sentences)
        elif self._verbose:
            yield log_line(line.text)
        else:
            self._kept.append(log_line(line.text))
            self.left_out += 1

    def end(self) -> Iterator[str]:
        """The lines to show once the log is complete: of a trainer that told no end, what it wrote last."""
        if not self._finished and self._kept:
            yield "The trainer ended without a message. The last lines of its log:"
            yield from list(self._kept)[-_SHOWN:]

    def _sentences(self, text: str) -> list[str] | None:
        """The sentences of an event; None for a line that is none."""
        text = text.rstrip("\r").rpartition("\r")[2]
        if not text.startswith('{"event"'):
            return None
        try:
            event = json.loads(text)
            if event["event"] == "finished":
                return self._ending(event)
            line = self._lines.of(event)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, StopIteration):
            return None
        return line.split("\n") if line else []

    def _ending(self, event: dict[str, Any]) -> list[str]:
        status = FineTuneJobStatus.model_validate(event["status"])
        if status.phase == "Succeeded":
            self._finished = True
            return ["Succeeded", *places_of(status)]
        failure, self._finished = failure_of(status), True
        trace = self._traceback() if failure.reason == Reason.UNKNOWN else []
        return [*trace, f"Failed ({failure.reason}): {failure.message}", *places_of(status)]

    def _traceback(self) -> list[str]:
        """The last one: of an error that nobody foresaw, only that says where it is to be mended."""
        kept = list(self._kept)
        starts = [place for place, line in enumerate(kept) if line == _TRACEBACK]
        return kept[starts[-1] :] if starts else []


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0
