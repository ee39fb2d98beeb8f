"""A proxy before a store's server, for faults that no real server makes on demand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from typing import Any

from servers.threaded import ThreadedServer


@dataclass
class FlakyServer(ThreadedServer):
    """Passes requests on to the server at `port_behind`, but for those that `fault` has a status for; a context
    manager."""

    port_behind: int
    fault: Callable[[int], int | None]
    """By the number of the request, from 1: the status that is answered in the server's place."""
    asked: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        flaky = self

        class Handler(BaseHTTPRequestHandler):
            def _relay(self) -> None:
                flaky.asked += 1
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if status := flaky.fault(flaky.asked):
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                behind = HTTPConnection("127.0.0.1", flaky.port_behind, timeout=20)
                # The signature is over the headers, the name of the host among them.
                behind.request(self.command, self.path, body or None, dict(self.headers.items()))
                answer = behind.getresponse()
                content = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                behind.close()

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _relay  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Says nothing."""

        self.listen(Handler)
