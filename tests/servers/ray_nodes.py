"""A Ray cluster of processes: a head that computes nothing, as KubeRay's, and nodes that join when a test says so."""

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from kubetune_api.stopping import STOP_VARIABLE
from servers.processes import Process, free_port

STARTS = 4
"""Ray gives up a node that is not there within 30 seconds; a busy machine may need another start of it."""
OBJECT_STORE = str(80 * 2**20)
"""Bytes; the least is about 75 MiB."""
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-the-tests-alone-and-long-enough"}
"""What KubeRay gives to every container of a cluster."""
PATIENCE = {"RAY_agent_register_timeout_ms": "120000", "RAY_worker_niceness": "0"}
"""For a busy machine: Ray would give up after 15 seconds, and its workers would let all others go first."""


class RayNodes:
    """The cluster. All its processes end with `stop()`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._launched = 0
        self._nodes: list[Process] = []
        # A short path: Ray puts sockets below it.
        self._scratch = TemporaryDirectory(prefix="kr-", ignore_cleanup_errors=True)

    @property
    def env(self) -> dict[str, str]:
        """What a driver gets from Ray's job manager."""
        return {"RAY_ADDRESS": f"127.0.0.1:{self._port}", **TOKEN}

    @property
    def stop_folder(self) -> Path:
        """Where the ranks on every node look whether their pod ends."""
        return Path(self._scratch.name) / "stop"

    def start_head(self) -> None:
        """Starts the head, without a place for any worker."""
        self._start("--head", "--port", str(self._port), "--include-dashboard=false", cpus=0)

    @property
    def alone(self) -> bool:
        """Whether the head has no other node yet."""
        return len(self._nodes) == 1

    def join(self, cpus: int) -> None:
        """Starts a node with a place for so many workers."""
        self._start("--address", self.env["RAY_ADDRESS"], cpus=cpus)

    def _start(self, *options: str, cpus: int) -> None:
        for _ in range(STARTS):
            node = self._launch(*options, "--num-cpus", str(cpus))
            with suppress(RuntimeError, TimeoutError):
                node.wait_until(partial(_has_started, node))
                self._nodes.append(node)
                return
            node.stop()
        raise RuntimeError(f"Ray does not start:\n{node.tail()}")

    def _launch(self, *options: str) -> Process:
        self._launched += 1
        return Process(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options),
                *("--num-gpus", "0", "--include-log-monitor=false", "--disable-usage-stats"),
                *("--object-store-memory", OBJECT_STORE, "--temp-dir", f"{self._scratch.name}/{self._launched}"),
                *("--dashboard-agent-listen-port", str(free_port())),
            ],
            log=self._folder / f"ray-node-{self._launched}.log",
            env={**TOKEN, **PATIENCE, STOP_VARIABLE: str(self.stop_folder)},
        )

    def stop(self) -> None:
        """Ends every node, with the workers that it started."""
        for node in reversed(self._nodes):
            node.terminate()
        self._nodes.clear()
        self._scratch.cleanup()


def _has_started(node: Process) -> bool:
    return "Ray runtime started" in node.tail()
