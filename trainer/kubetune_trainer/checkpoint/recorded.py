"""What of a training's records is in the store: each checkpoint adds a file with what came since the one before.

To write all of them each time would be megabytes in a long training. A checkpoint names the files of the earlier ones;
once those are many, everything is written into one again.
"""

from collections.abc import Sequence

from kubetune_trainer.checkpoint.history import History
from kubetune_trainer.records import EvaluationRecord, StepRecord, StoredFile

MOST_FILES = 32


class Recorded:
    """Of one execution, which begins with a file of all that it was given."""

    def __init__(self, records: Sequence[object]) -> None:
        self._records = records
        self._files: tuple[StoredFile, ...] = ()
        """Those that the last committed checkpoint names."""
        self._covered = self._end = 0
        """How many records are in them; and in them together with what was taken last."""

    def take(self) -> History:
        """What the next file has: all that was recorded since the last committed checkpoint."""
        if len(self._files) >= MOST_FILES:
            self._files, self._covered = (), 0
        self._end = len(self._records)
        taken = self._records[self._covered : self._end]
        return History(
            tuple(record for record in taken if isinstance(record, StepRecord)),
            tuple(record for record in taken if isinstance(record, EvaluationRecord)),
        )

    def files_with(self, newest: StoredFile) -> tuple[StoredFile, ...]:
        """All that a checkpoint names, whose own file is the newest one."""
        return (*self._files, newest)

    def committed(self, newest: StoredFile) -> None:
        """The checkpoint with that file is committed: what it has needs not be written again."""
        self._files, self._covered = self.files_with(newest), self._end
