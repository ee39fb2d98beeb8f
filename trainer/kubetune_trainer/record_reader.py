"""Hands on what a training reports, while it goes on."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from kubetune_trainer.handoff import Record

_POLL_SECONDS = 0.3
_log = logging.getLogger(__name__)


class RecordReader:
    """Takes records, in a thread, for as long as the block lasts, and hands them to each of `takers`.

    `take` returns those that have come since its last call; None if no more will come. `meanwhile` is called each time.
    """

    def __init__(
        self,
        take: Callable[[], list[Record] | None],
        *takers: Callable[[list[Record]], None],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._take, self._takers, self._meanwhile = take, takers, meanwhile
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while True:
            last = self._stop.wait(_POLL_SECONDS)
            records = self._take()
            if records:
                self._hand_out(records)
            self._do(self._meanwhile)
            if last or records is None:
                return

    def _hand_out(self, records: list[Record]) -> None:
        for take in self._takers:
            self._do(partial(take, records))

    def _do(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception:  # neither the others nor the next records are to miss anything by it
            _log.exception("Records of the training were not taken")
