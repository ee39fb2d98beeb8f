"""A real Kubernetes API server (etcd and kube-apiserver, nothing else), and a small client that shows what it says."""

import json
import ssl
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

from servers.build import binary
from servers.processes import Process, accepts_connections, free_port

TOKEN = "a-token-of-the-tests-alone"
WAIT_SECONDS = 30.0
Object = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the server said to one request."""

    status: int
    """The HTTP status."""
    body: Object = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What `kubectl` would print as `Warning: …`."""

    @property
    def accepted(self) -> bool:
        """Whether the server did what was asked."""
        return self.status < 400

    @property
    def message(self) -> str:
        """The server's sentence about a refusal."""
        return str(self.body.get("message", ""))


class ApiServer:
    """The server, empty but for Kubernetes' own objects."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._etcd_port, self._etcd_peer_port, self.port = free_port(), free_port(), free_port()
        self._processes: list[Process] = []

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts etcd, then the API server; returns when it is ready."""
        self._start_etcd()
        self._start_api_server()

    def stop(self) -> None:
        """Ends both, and with them all objects."""
        while self._processes:
            self._processes.pop().stop()

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        media: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Answer:
        """One request as the cluster's administrator."""
        request = urllib.request.Request(
            f"{self.url}{path}?{urlencode(query)}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": media, "Accept": accept},
        )
        trust = ssl.create_default_context(cafile=str(self._certificate))
        try:
            with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
                return _answer(answer.status, answer)
        except HTTPError as refusal:
            with refusal:
                return _answer(refusal.code, refusal)

    def get(self, path: str, *, accept: str = "application/json") -> Answer:
        """Reads an object or a list."""
        return self.request("GET", path, accept=accept)

    def create(self, path: str, body: Object, **query: str) -> Answer:
        """Creates an object as `kubectl create` does: an unknown field is refused."""
        return self.request("POST", path, body, fieldValidation="Strict", **query)

    def apply(self, path: str, body: Object) -> Answer:
        """Creates or updates an object as `kubectl apply --server-side` does."""
        return self.request(
            "PATCH",
            path,
            body,
            media="application/apply-patch+yaml",
            fieldManager="tests",
            fieldValidation="Strict",
            force="true",
        )

    def merge(self, path: str, change: Object) -> Answer:
        """Changes fields of an object, or of its status by the path of that."""
        return self.request("PATCH", path, change, media="application/merge-patch+json")

    def delete(self, path: str) -> Answer:
        """Deletes an object."""
        return self.request("DELETE", path)

    def wait_for_condition(self, path: str, condition: str) -> None:
        """Returns once the condition of the object is true; raises with all its conditions if that takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            conditions = self.get(path).body.get("status", {}).get("conditions") or []
            if any(found["type"] == condition and found["status"] == "True" for found in conditions):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} is not {condition}: {conditions}")
            time.sleep(0.05)

    @property
    def _certificate(self) -> Path:
        return self._folder / "certificates" / "apiserver.crt"

    def _start_etcd(self) -> None:
        url, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer_port}"
        command = (
            binary("etcd"),
            *("--data-dir", self._folder / "etcd", "--unsafe-no-fsync", "--log-level", "warn"),
            *("--listen-client-urls", url, "--advertise-client-urls", url),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )
        self._run(command, "etcd.log").wait_until(lambda: accepts_connections(self._etcd_port))

    def _start_api_server(self) -> None:
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        # The key that the server makes for TLS signs the ServiceAccounts' tokens as well: none of the tests uses one.
        key = self._certificate.with_suffix(".key")
        command = (
            binary("kube-apiserver"),
            *("--etcd-servers", f"http://127.0.0.1:{self._etcd_port}"),
            *("--bind-address", "127.0.0.1", "--secure-port", self.port),
            # A loopback address may not stand in an EndpointSlice, so none is kept for the server itself.
            *("--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none"),
            *("--cert-dir", self._certificate.parent, "--token-auth-file", tokens),
            *("--authorization-mode", "Node,RBAC", "--service-cluster-ip-range", "10.96.0.0/16"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-key-file", key, "--service-account-signing-key-file", key),
            # Without a controller manager nobody makes the ServiceAccounts that this plugin asks for.
            *("--disable-admission-plugins", "ServiceAccount"),
        )
        self._run(command, "kube-apiserver.log").wait_until(self._ready)

    def _run(self, command: tuple[object, ...], log: str) -> Process:
        process = Process(map(str, command), log=self._folder / log)
        self._processes.append(process)
        return process

    def _ready(self) -> bool:
        try:
            return self._certificate.exists() and self.get("/readyz").status == 200
        except (URLError, ConnectionError, ssl.SSLError):
            return False


def _answer(status: int, response: Any) -> Answer:
    text = response.read().decode(errors="replace")
    try:
        body = json.loads(text)
    except ValueError:  # `/readyz` says "ok", and a server that is starting says other things
        body = {"message": text}
    warnings = response.headers.get_all("Warning") or []
    # Each is `299 - "the sentence"`, its own quotes escaped.
    return Answer(status, body, tuple(warning[len('299 - "') : -1].replace('\\"', '"') for warning in warnings))
