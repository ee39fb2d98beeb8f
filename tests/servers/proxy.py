"""A proxy before a real API server, for faults that a network and a busy server have and tests cannot wait for.

It ends the client's TLS with the server's own certificate, so a client needs nothing but another port, and speaks to
the server itself. What it does not disturb it passes on, watches included.
"""

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from servers.kube import ApiServer
from servers.kube_client import KubeClient
from servers.processes import free_port

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
READS = frozenset({"GET"})


@dataclass(frozen=True)
class Answer:
    """The proxy answers itself, as the API server does; the request never reaches that."""

    status: int
    reason: str = ""
    message: str = "the tests want it so"
    retry_after: int | None = None


@dataclass(frozen=True)
class LoseReply:
    """The server does what was asked, and the connection breaks before its answer comes."""


@dataclass(frozen=True)
class LoseRequest:
    """The connection breaks before the request reaches the server."""


@dataclass(frozen=True)
class Delay:
    """The request reaches the server later."""

    seconds: float


Fault = Answer | LoseReply | LoseRequest | Delay


@dataclass(frozen=True)
class Request:
    """A request that came."""

    method: str
    path: str
    """With its query, as people write it."""


@dataclass
class _Rule:
    fault: Fault
    methods: frozenset[str]
    path: re.Pattern[str]
    first: int
    times: int
    count: int = 0

    def applies(self, request: Request) -> bool:
        """Whether the fault happens to the request, which counts if the rule is about such ones."""
        if request.method not in self.methods or not self.path.search(request.path):
            return False
        self.count += 1
        return self.first <= self.count < self.first + self.times


@dataclass
class Proxy:
    """The proxy; a context manager."""

    server: ApiServer
    requests: list[Request] = field(default_factory=list)
    """All requests that came, those that were disturbed as well."""

    def __post_init__(self) -> None:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._handler = Handler
        self._port = free_port()
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._stopped = threading.Event()
        certificate = self.server.folder / "certificates" / "apiserver.crt"
        self.certificate = certificate
        self._listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._listening.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self._trusting = ssl.create_default_context(cafile=str(certificate))

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"https://127.0.0.1:{self._port}"

    def client(self, token: str | None = None) -> KubeClient:
        """A client whose way goes through the proxy; the administrator's without a token. It writes kubeconfigs too."""
        return KubeClient(self.url, self.certificate, token or self.server.token)

    def disturb(
        self,
        fault: Fault,
        *,
        methods: frozenset[str] = WRITES,
        path: str = "",
        nth: int = 1,
        times: int = 1,
    ) -> None:
        """The fault happens to the nth request from now on whose path has this pattern, and to those after it."""
        with self._lock:
            self._rules.append(_Rule(fault, methods, re.compile(path), nth, times))

    def undisturbed(self) -> None:
        """Forgets all faults."""
        with self._lock:
            self._rules.clear()

    def cut(self) -> None:
        """Breaks every connection that is open now; new ones are welcome."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            # Not SSLSocket's own method, which would first end the TLS that another thread is reading.
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens, and every connection breaks, as long as the `with` lasts."""
        self._close()
        try:
            yield
        finally:
            self._open()

    def __enter__(self) -> "Proxy":
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._close()

    def _open(self) -> None:
        self._http = _QuietServer(("127.0.0.1", self._port), self._handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self.cut()

    def accept(self, raw: socket.socket) -> socket.socket:
        """The TLS of a connection that a client opens."""
        return self._remember(self._listening.wrap_socket(raw, server_side=True))

    def connect(self) -> HTTPSConnection:
        """A connection to the server."""
        connection = HTTPSConnection("127.0.0.1", self.server.port, context=self._trusting)
        connection.connect()
        self._remember(connection.sock)
        return connection

    def forget(self, *sockets: socket.socket | None) -> None:
        """These connections are over."""
        with self._lock:
            self._sockets.difference_update(each for each in sockets if each)

    def fault_of(self, request: Request) -> Fault | None:
        """What is to happen to the request; every rule counts it."""
        with self._lock:
            self.requests.append(request)
            applying = [rule.fault for rule in self._rules if rule.applies(request)]
        return applying[0] if applying else None

    def wait(self, seconds: float) -> None:
        """Returns after so long, or when the proxy ends."""
        self._stopped.wait(seconds)

    def _remember(self, connection: socket.socket) -> Any:
        with self._lock:
            self._sockets.add(connection)
        return connection


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: broken connections are what it is for."""


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self._upstream: HTTPSConnection | None = None
        self.request = self.owner.accept(self.request)
        super().setup()

    def finish(self) -> None:
        self.owner.forget(self.request, self._upstream and self._upstream.sock)
        if self._upstream:
            self._upstream.close()
        with suppress(OSError):
            super().finish()
        self.request.close()

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.owner.fault_of(Request(self.command, unquote(self.path)))
        if isinstance(fault, Answer):
            self._answer(fault)
            return
        if isinstance(fault, Delay):
            self.owner.wait(fault.seconds)
        self.close_connection = True
        if isinstance(fault, LoseRequest):
            return
        with suppress(OSError, HTTPException):
            response = self._ask(body)
            if isinstance(fault, LoseReply):
                response.read()
                return
            self._pass_on(response)
            self.close_connection = False

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _relay  # noqa: N815 - the library's names

    def _ask(self, body: bytes) -> HTTPResponse:
        if self._upstream is None:
            self._upstream = self.owner.connect()
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
        self._upstream.request(self.command, self.path, body or None, headers)
        return self._upstream.getresponse()

    def _pass_on(self, response: HTTPResponse) -> None:
        whole = response.headers.get("Content-Length") is not None
        self.send_response_only(response.status)
        for key, value in response.headers.items():
            if key.lower() not in ("connection", "transfer-encoding"):
                self.send_header(key, value)
        if not whole:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := response.read1(1 << 16):
            self.wfile.write(piece if whole else b"%x\r\n%s\r\n" % (len(piece), piece))
        # The rest is nothing, unless the server broke off: then it raises, and the client's connection breaks as well.
        response.read()
        if not whole:
            self.wfile.write(b"0\r\n\r\n")

    def _answer(self, answer: Answer) -> None:
        status = {
            "apiVersion": "v1",
            "kind": "Status",
            "status": "Failure",
            "code": answer.status,
            "reason": answer.reason,
            "message": answer.message,
        }
        body = json.dumps(status).encode()
        self.send_response_only(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if answer.retry_after is not None:
            self.send_header("Retry-After", str(answer.retry_after))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Says nothing."""
