"""One program of a cluster, under the test's control."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from servers.processes import Process

Command = tuple[object, ...]
_GARBAGE = {"GOGC": "400"}
"""All are programs in Go. They collect garbage when their memory has grown by so many per cent: a third of an API
server's processor time goes into that by default, and memory is there."""


@dataclass
class Component:
    """A program that a test may end, freeze and start again, with the same files and ports.

    To be started by a thread that lives on: the kernel ends the program together with the thread that started it.
    """

    log: Path
    command: Callable[[], Command]
    ready: Callable[[], bool]
    """Whether it does its work."""
    env: Mapping[str, str] = field(default_factory=dict)
    _process: Process | None = None

    def start(self) -> None:
        """Starts the program; returns when it is ready."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Starts the program, and does not wait for it."""
        assert self._process is None, f"{self.log.stem} runs already"
        self._process = Process(map(str, self.command()), log=self.log, env={**_GARBAGE, **self.env})

    def wait(self) -> None:
        """Returns when the program is ready."""
        self.process.wait_until(self.ready)

    @property
    def process(self) -> Process:
        """The running program."""
        assert self._process is not None, f"{self.log.stem} does not run"
        return self._process

    @property
    def runs(self) -> bool:
        """Whether it was started and not ended by the test."""
        return self._process is not None

    def kill(self) -> None:
        """Ends the program at once (SIGKILL), as a crash does; nothing happens if it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def stop(self) -> None:
        """Asks the program to end (SIGTERM), as a node that is drained does."""
        self.process.terminate()
        self._process = None

    def freeze(self) -> None:
        """Stops its clock (SIGSTOP): its connections stay open and nothing answers."""
        self.process.freeze()

    def thaw(self) -> None:
        """Lets it go on after `freeze`."""
        self.process.thaw()
