"""The dashboards of the Ray heads, and the API server's way to them.

KubeRay asks a head for the state of its job through the API server's service proxy. No pod runs here, and a service's
endpoint may not have a loopback address. So the API server reaches every pod through an HTTP proxy (its egress
selector), and this proxy, on a Unix socket, answers itself: what is said inside a tunnel to a head's port 8265, the
dashboard hears. Pods keep plausible addresses, nothing listens on a real network, and any number of clusters can run.
"""

import json
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from tempfile import TemporaryDirectory
from typing import Any

from servers.threaded import ThreadedServer

DASHBOARD_PORT = 8265
FINAL = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass
class RayHeads(ThreadedServer):
    """All heads at once: jobs are found by their submission id, which is `status.jobId` of the RayJob."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the dashboard tells of each job; a head does not know any other."""
    stopped: list[str] = field(default_factory=list)
    """The jobs that KubeRay asked to stop."""
    tokens: set[str] = field(default_factory=set)
    """The values of `x-ray-authorization` that came."""
    reachable: bool = True
    """Whether connections to pods succeed at all."""

    def __post_init__(self) -> None:
        heads = self

        class Handler(_Handler):
            state = heads

        # A folder of its own: the path of a socket has a hundred characters at most.
        self._folder = TemporaryDirectory(prefix="heads")
        self.socket = Path(self._folder.name) / "proxy"
        self.serve(ThreadingUnixStreamServer(str(self.socket), Handler))

    def stop(self) -> None:
        """Ends; the API server can reach no pod from here on."""
        super().stop()
        self._folder.cleanup()

    def report(self, job: str, status: str, message: str = "") -> None:
        """From now on the job is PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED; KubeRay asks every three seconds."""
        now = int(time.time() * 1000)
        known = self.jobs.get(job, {"submission_id": job, "type": "SUBMISSION", "start_time": now})
        end = {"end_time": now} if status in FINAL else {}
        self.jobs[job] = {**known, **end, "status": status, "message": message}


class _Handler(BaseHTTPRequestHandler):
    state: RayHeads
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        if not self.state.reachable or not self.path.endswith(f":{DASHBOARD_PORT}"):
            self.send_error(502, "no pod answers there")
            return
        # The connection stays open: what follows in it are the requests to the dashboard.
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        job = self.state.jobs.get(self.path.removeprefix("/api/jobs/"))
        self._send(404 if job is None else 200, job or {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        job = self.path.removeprefix("/api/jobs/").removesuffix("/stop")
        known = job in self.state.jobs
        if known:
            self.state.stopped.append(job)
            if self.state.jobs[job]["status"] not in FINAL:
                self.state.report(job, "STOPPED")
        self._send(200 if known else 404, {"stopped": known})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        self.state.tokens |= set(self.headers.get_all("x-ray-authorization", []))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Says nothing."""
