"""Whether a run is to save and end: a signal to the driver says so, or the pod, as it ends.

Before the first step there is nothing to save, and without checkpoints there is no way to: then a signal ends the run
at once. Behind the last step the run goes on to its end, which is near.
"""

from collections.abc import Callable, Iterable

from kubetune_api.stopping import StopSign
from kubetune_trainer.events import Listener
from kubetune_trainer.records import StepRecord


class StopRequest:
    """What the driver knows of it."""

    def __init__(self, sign: StopSign | None = None) -> None:
        self._sign = sign or StopSign.of_this_pod()
        self._signalled = self._can_save = self._told = False

    def by_signal(self) -> bool:
        """Whether the run ends by itself; False where it is to end at once, as it must when it is asked twice."""
        first, self._signalled = not self._signalled, True
        return first and self._can_save

    @property
    def is_there(self) -> bool:
        """Whether the run is to save and end."""
        return self._signalled or self._sign.is_up

    def take(self, records: Iterable[object]) -> None:
        """Takes the records of a training with checkpoints: behind a step it can save."""
        if not self._can_save and any(isinstance(record, StepRecord) for record in records):
            self._can_save = True
            self._sign.awaits_this_process()

    def look(self, listener: Listener, tell_workers: Callable[[], object] = lambda: None) -> None:
        """Called again and again while the training goes on."""
        if self._can_save and not self._told and self.is_there:
            self._told = True
            tell_workers()
            listener.stage("Saving the training, which was told to stop")
