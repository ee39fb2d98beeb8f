"""A namespace of a real API server with jobs and pods, a kubelet that gives out their logs, and the command there."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlparse

from kubetune_api.labels import ATTEMPT, ROLE
from kubetune_api.labels import JOB as JOB_LABEL
from servers import pod_status
from servers.kube import ApiServer
from servers.kube_client import Answer, Object
from servers.threaded import ThreadedServer
from support.job_cases import edited

NODE = "node-with-logs"
STARTED, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"
SECONDS = 180.0
"""How long a command may take on a busy machine."""


@dataclass
class Container:
    """What a container has written so far."""

    lines: list[str] = field(default_factory=list)
    over: bool = False
    cuts: int = 0
    """How often the connection breaks after the lines that are there."""


class LogServer(ThreadedServer):
    """The part of a kubelet that gives out logs, as the API server asks for it."""

    def __init__(self, certificate: Path) -> None:
        self.containers: dict[str, Container] = {}
        """By the pod's name."""
        self.listen(_handler(self.containers), certificate=certificate, key=certificate.with_suffix(".key"))

    def stop(self) -> None:
        for container in self.containers.values():
            container.over = True
        super().stop()


def _handler(containers: dict[str, Container]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlparse(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            container = containers[url.path.split("/")[3]]
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with suppress(OSError):
                self._stream(container, query)

        def _stream(self, container: Container, query: dict[str, str]) -> None:
            sent = max(0, len(container.lines) - int(query["tailLines"])) if "tailLines" in query else 0
            while True:
                for number, line in enumerate(container.lines[sent:], start=sent):
                    stamp = f"2026-01-01T00:00:{number:02}.5Z"
                    # A kubelet leaves out what is older, to the second.
                    if stamp[:19] >= query.get("sinceTime", "")[:19]:
                        self._chunk(f"{stamp} {line}\n".encode())
                    sent = number + 1
                if container.cuts:
                    container.cuts -= 1
                    self.close_connection = True
                    return
                if container.over or "follow" not in query:
                    self._chunk(b"")
                    return
                time.sleep(0.05)

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Says nothing."""

    return Handler


@dataclass
class Team:
    """A namespace of its own with jobs, and the command as a person calls it there."""

    server: ApiServer
    logs: LogServer
    namespace: str
    folder: Path

    def create(self, name: str = "reviews", status: Object | None = None, **edits: Any) -> None:
        """Creates a job, and says its status where there is one."""
        manifest = edited({"spec.output.uri": "s3://models/x", **edits})
        manifest["metadata"] = {"name": name, "namespace": self.namespace}
        done(self.server.create(self._jobs, manifest))
        if status is not None:
            self.say(name, status)

    def say(self, name: str, status: Object) -> None:
        """Writes the status, as the operator does."""
        done(self.server.merge(f"{self._jobs}/{name}/status", {"status": status}))

    def delete(self, name: str) -> None:
        done(self.server.delete(f"{self._jobs}/{name}"))

    @property
    def _jobs(self) -> str:
        return f"/apis/kubetune.dev/v1alpha1/namespaces/{self.namespace}/finetunejobs"

    def run_pod(self, role: str, *lines: str, attempt: int = 1, job: str = "reviews", cuts: int = 0) -> str:
        """A running pod of a job that wrote these lines; its name."""
        name = f"{self.namespace}-{job}-{attempt}-{role}"
        labels = {JOB_LABEL: job, ATTEMPT: str(attempt), ROLE: role}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "image"}]},
        }
        self.logs.containers[name] = Container(list(lines), cuts=cuts)
        done(self.server.create(self._pods, pod))
        self._say_pod(name, lambda made: pod_status.running(made, STARTED))
        return name

    def end_pod(self, name: str) -> None:
        """Lets a pod's containers end."""
        self.logs.containers[name].over = True
        self._say_pod(name, lambda pod: pod_status.ended(pod, "Succeeded", pod_status.Exit(), ENDED))

    def hold_pod(self, name: str, reason: str, message: str) -> None:
        """Makes of a pod one whose container cannot start."""
        self._say_pod(name, lambda pod: pod_status.waiting(pod, reason, message, STARTED))

    def _say_pod(self, name: str, status: Callable[[Object], Object]) -> None:
        pod = self.server.get(f"{self._pods}/{name}").body
        done(self.server.merge(f"{self._pods}/{name}/status", {"status": status(pod)}))

    def remove_pod(self, name: str) -> None:
        done(self.server.delete(f"{self._pods}/{name}", {"gracePeriodSeconds": 0}))

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def kubeconfig(self) -> Path:
        return self.server.kubeconfig(self.folder / "kubeconfig", self.namespace)

    def environment(self, **more: str) -> dict[str, str]:
        return os.environ | {"KUBECONFIG": str(self.kubeconfig()), **more}

    def call(self, *arguments: str, program: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """The finished command."""
        return subprocess.run(
            command(*arguments, program=program),
            env=self.environment(**more),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def start(self, *arguments: str) -> "Running":
        """The command in the background."""
        return Running(
            subprocess.Popen(
                command(*arguments), env=self.environment(), cwd=self.folder, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip


class Running:
    """A command that goes on, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=_collect, args=pair, daemon=True)
            for pair in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, text: str) -> None:
        """Returns once the command has printed this."""
        deadline = time.monotonic() + SECONDS
        while text not in (printed := "".join([*self.out, *self.err])):
            assert time.monotonic() < deadline, f"{text!r} is not in {printed!r}"
            assert self._process.poll() is None, f"the command ended: {printed!r}"
            time.sleep(0.05)

    def end(self) -> int:
        """The exit code, once the command has ended by itself."""
        code = self._process.wait(SECONDS)
        for reader in self._readers:
            reader.join()
        return code

    def kill(self) -> None:
        """Ends what a failed test leaves."""
        self._process.kill()
        self.end()


def _collect(stream: IO[str], into: list[str]) -> None:
    with stream:
        into.extend(stream)


def command(*arguments: str, program: Path | None = None) -> list[str]:
    start = [str(program)] if program else ["-c", "from kubetune_cli.main import main; main()"]
    return [sys.executable, *start, *arguments]


def done(answer: Answer) -> Answer:
    assert answer.accepted, answer.message
    return answer
