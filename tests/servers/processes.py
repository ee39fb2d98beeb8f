"""Starts a server as a child that cannot outlive the tests, and finds it a free port."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

START_SECONDS = 60.0
"""How long a server may take to its first answer on a busy machine."""
TERMINATE_SECONDS = 10.0
"""How long a server may take to end when it is asked to."""
PORTS = range(20000, 30000)
"""Below the range from which the kernel picks ports for outgoing connections, so that none of those takes ours."""


class Process:
    """A running server with its log; its whole process group ends with `stop()`, or with the tests however they end."""

    def __init__(self, command: Iterable[str | Path], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        # Linux kills the child when its parent dies, even by SIGKILL; elsewhere `stop()` has to do.
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*guard, *map(str, command)],
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Returns once the server answers; raises with the end of its log when it dies or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._popen.poll() is not None:
                raise RuntimeError(f"the server ended with {self._popen.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server did not answer within {START_SECONDS:.0f} s:\n{self.tail()}")
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The process, which leads a group of its own."""
        return self._popen.pid

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-4000:]

    def freeze(self) -> None:
        """Lets the process group live on without doing anything, as on a machine that hangs."""
        os.killpg(self._popen.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets the frozen process group go on."""
        os.killpg(self._popen.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Asks the process group to end, and ends it if it does not."""
        if self.alive:
            os.killpg(self._popen.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(TERMINATE_SECONDS)
        self.stop()

    def stop(self) -> None:
        """Ends the process group at once: what the servers hold is thrown away with the tests."""
        if self.alive:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    for port in random.sample(PORTS, k=100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {PORTS.start} and {PORTS.stop}")


def accepts_connections(port: int, address: str = "127.0.0.1") -> bool:
    """Whether something listens on the port of an interface, by default of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0
