"""A terminal or a pipe that goes away takes no save with it."""

import signal
from types import TracebackType
from typing import Any, Self

import pytest

from kubetune_cli.run import _AskingFirst, _interrupts_by

EVENT = {"event": "note", "text": "it saves"}


class Gone:
    """A view whose terminal is closed."""

    def __init__(self, error: BaseException) -> None:
        self.tried = 0
        self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: dict[str, Any]) -> None:
        """Nobody sees it."""
        self.tried += 1
        raise self._error


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), SystemExit(1)], ids=["a terminal", "a pipe"])
def test_once_asked_to_save_nothing_needs_to_be_shown(error: BaseException) -> None:
    asked: list[bool] = []
    asking, view = _AskingFirst(lambda: asked.append(True)), Gone(error)
    with pytest.raises(type(error)):
        asking.show(EVENT, view)
    asking(signal.SIGHUP, None)
    asking.show(EVENT, view)
    asking.show(EVENT, view)
    assert (asked, view.tried) == ([True], 2)


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _interrupts_by(lambda *_: None, signal.SIGHUP):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
