"""Watches the ranks of a run while they train, and ends a run in which nothing moves any more.

The processes of ranks that hang never return: they are killed, so that whoever waits for them hears of it. Where even
that does not help, the whole process gives up.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import NoReturn

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.watchdog.beats import Beat
from kubetune_trainer.watchdog.hangs import Hang, Hangs
from kubetune_trainer.watchdog.stragglers import Stragglers

GiveUp = Callable[[RunError], NoReturn]
"""Tells the end of the run and ends this process, whatever its other threads do."""
_LOOK_SECONDS = 1.0
_END_SECONDS = 45.0
"""How long whoever waits for ranks may take to hear that these were killed."""
_log = logging.getLogger(__name__)


class Watchdog:
    """Looks at beats in a thread while its block lasts."""

    def __init__(
        self,
        beats: Callable[[], Sequence[Beat] | None],
        hangs: Hangs,
        kill: Callable[[Sequence[Beat]], None],
        give_up: GiveUp,
        tell: Callable[[str], None],
        *,
        seconds: float = _LOOK_SECONDS,
        patience: float = _END_SECONDS,
        now: Callable[[], float] = monotonic,
    ) -> None:
        """`beats`: the last of each rank; None if that cannot be told now. `kill` ends the processes of ranks; `tell`
        is called with what the author of the job should know."""
        self._beats, self._hangs, self._kill, self._give_up = beats, hangs, kill, give_up
        self._tell, self._stragglers = tell, Stragglers()
        self._seconds, self._patience, self._now = seconds, patience, now
        self.error: RunError | None = None
        """Why it has ended the run."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, the ranks train. What ends it after the watchdog has killed them is the watchdog's own error."""
        self._thread.start()
        try:
            yield
        except Exception as error:
            if self.error is None:
                raise
            raise self.error from error
        finally:
            self._stop.set()
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                hang = self._look(self._beats())
            except Exception:  # a training is not to end because of whoever watches it
                _log.exception("The beats of the workers could not be read")
                continue
            if hang is not None:
                self._end(hang)
                return

    def _look(self, beats: Sequence[Beat] | None) -> Hang | None:
        if beats is None:
            return None
        now = self._now()
        if slow := self._stragglers.judge(beats, now):
            self._tell(slow.sentence)
        return self._hangs.judge(beats, now)

    def _end(self, hang: Hang) -> None:
        _log.error("Nothing has moved for %.0f seconds: %s.\n%s", hang.seconds, hang.sentence, hang.stacks)
        self.error = hung(hang)
        try:
            self._kill(hang.beats)
        except Exception:
            _log.exception("The processes of the workers could not be ended")
        if not self._stop.wait(self._patience):
            self._give_up(self.error)


def hung(hang: Hang) -> RunError:
    """For whoever started the run."""
    return RunError(Reason.HUNG, f"{hang.sentence}. The log has the stacks of all ranks.")
