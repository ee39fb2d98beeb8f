"""What a run tells while it goes on: one JSON object a line, for whoever started it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, TextIO

from kubetune_api.data_counts import DataCounts
from kubetune_api.outcome import Ending
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.status import CheckpointStatus, FineTuneJobStatus, Progress
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.shown_rows import Sample


class Listener(Protocol):
    """Who is told."""

    def stage(self, text: str) -> None:
        """What the run does now, for people."""

    def claimed(self, execution: int) -> None:
        """The run has the number under which it writes."""

    def note(self, text: str) -> None:
        """Something about the job that its author should know."""

    def data(self, counts: DataCounts, samples: Sequence[Sample]) -> None:
        """What was read, and some rows as the model sees them."""

    def resolved(self, settings: ResolvedSettings) -> None:
        """How the run trains, now that nothing of it is open any more."""

    def progress(self, progress: Progress) -> None:
        """How far the training is."""

    def checkpoint(self, known: CheckpointStatus) -> None:
        """What is known of the checkpoints, each time that it changes."""

    def evaluated(self, record: EvaluationRecord) -> None:
        """A split was judged."""

    def finished(self, status: FineTuneJobStatus) -> None:
        """The run is over; the last call."""


@dataclass(frozen=True)
class JsonLinesListener:
    """A listener that writes each event as a line `{"event": …, …}`."""

    stream: TextIO
    texts: bool = True
    """Whether texts of the data may be written: a cluster collects what its pods print."""

    def stage(self, text: str) -> None:
        """See `Listener`."""
        self._write("stage", text=text)

    def claimed(self, execution: int) -> None:
        """See `Listener`."""
        self._write("claimed", execution=execution)

    def note(self, text: str) -> None:
        """See `Listener`."""
        self._write("note", text=text)

    def data(self, counts: DataCounts, samples: Sequence[Sample]) -> None:
        """See `Listener`."""
        self._write("data", data=counts.to_dict(), samples=[asdict(sample) for sample in samples if self.texts])

    def resolved(self, settings: ResolvedSettings) -> None:
        """See `Listener`."""
        self._write("resolved", resolved=settings.to_dict())

    def progress(self, progress: Progress) -> None:
        """See `Listener`."""
        self._write("progress", progress=progress.to_dict())

    def checkpoint(self, known: CheckpointStatus) -> None:
        """See `Listener`."""
        self._write("checkpoint", checkpoint=known.to_dict())

    def evaluated(self, record: EvaluationRecord) -> None:
        """See `Listener`."""
        # What a model says to a row may be a text of the data, and what a user's own metric says of it too.
        self._write("evaluated", evaluation=asdict(replace(record, worst=(), written=(), notes=())))

    def finished(self, status: FineTuneJobStatus) -> None:
        """See `Listener`."""
        self._write("finished", status=status.to_dict())

    def _write(self, event: str, **content: Any) -> None:
        self.stream.write(json.dumps({"event": event, **content}) + "\n")
        self.stream.flush()


class LastProgress:
    """A listener that passes everything on, to several in turn, and remembers how far the run came."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self.last: Progress | None = None
        self.last_data: DataCounts | None = None
        self.last_checkpoint: CheckpointStatus | None = None

    def ending(self, run: str, start_time: str, completion_time: str) -> Ending:
        """What is known of the run at its end."""
        return Ending(
            run,
            start_time,
            completion_time,
            data=self.last_data,
            progress=self.last,
            checkpoint=self.last_checkpoint,
        )

    def stage(self, text: str) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.stage(text)

    def claimed(self, execution: int) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.claimed(execution)

    def note(self, text: str) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.note(text)

    def data(self, counts: DataCounts, samples: Sequence[Sample]) -> None:
        """See `Listener`."""
        self.last_data = counts
        for listener in self._listeners:
            listener.data(counts, samples)

    def resolved(self, settings: ResolvedSettings) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.resolved(settings)

    def progress(self, progress: Progress) -> None:
        """See `Listener`."""
        self.last = progress
        for listener in self._listeners:
            listener.progress(progress)

    def checkpoint(self, known: CheckpointStatus) -> None:
        """See `Listener`."""
        self.last_checkpoint = known
        for listener in self._listeners:
            listener.checkpoint(known)

    def evaluated(self, record: EvaluationRecord) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.evaluated(record)

    def finished(self, status: FineTuneJobStatus) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.finished(status)
