"""A stand-in for the API server, with TLS: for the errors that a real one makes on no demand."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from servers.threaded import ThreadedServer

Answer = tuple[int, dict[str, Any]]
ACCEPTED: Answer = (200, {})


@dataclass(frozen=True)
class Request:
    """What came."""

    method: str
    path: str
    token: str
    media: str
    body: dict[str, Any]


@dataclass
class FakeApiServer(ThreadedServer):
    """Answers the requests in turn with `answers`, the last one over and over; a context manager."""

    folder: Path
    """Where the files of a ServiceAccount are put: `token` and `ca.crt`."""
    answers: list[Answer | Callable[[], Answer]] = field(default_factory=lambda: [ACCEPTED])
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                token = self.headers["Authorization"].removeprefix("Bearer ")
                fake.requests.append(Request(self.command, self.path, token, self.headers["Content-Type"], body))
                answer = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
                status, content = answer() if callable(answer) else answer
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_PATCH = _answer  # noqa: N815 - the library's name

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Says nothing."""

        _make_certificate(self.folder)
        (self.folder / "token").write_text("first\n")
        self.listen(Handler, certificate=self.folder / "ca.crt", key=self.folder / "ca.key")


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "ca.key").write_bytes(pem)
