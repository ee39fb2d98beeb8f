"""A server that answers every request as it is told, for errors that no real server makes on demand."""

from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from servers.threaded import ThreadedServer


@dataclass
class ScriptedServer(ThreadedServer):
    """Answers with `status` and `body`, in which `{request}` is what was asked, headers and all; a context manager."""

    status: int
    body: str = ""
    first: list[tuple[int, str]] = field(default_factory=list)
    """Status and body of the first answers, one for each request."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""

    def __post_init__(self) -> None:
        script = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                script.requests.append(f"{self.command} {self.path}")
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, text = script.first.pop(0) if script.first else (script.status, script.body)
                asked = f"{self.requestline} {' '.join(map(': '.join, self.headers.items()))}"
                body = b"" if self.command == "HEAD" else text.replace("{request}", asked).encode()
                self.send_response(status)
                self.send_header("ETag", '"of the tests"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Says nothing."""

        self.listen(Handler)
