"""A stand-in for the Hugging Face hub: as much of its HTTP interface as huggingface_hub asks for.

Large files (`.safetensors`) are served as the real hub serves LFS files: by a redirect to another URL.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from servers.threaded import ThreadedServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_a_token_of_the_tests"


@dataclass(frozen=True)
class Repository:
    """One repository, of one commit."""

    files: dict[str, bytes]
    private: bool = False
    """Whether only TOKEN opens it; without, it looks as if it were not there."""
    gated: bool = False
    """Whether even TOKEN does not open its files."""
    commit: str = COMMIT
    """The only one."""


@dataclass
class Hub(ThreadedServer):
    """The stand-in; `repositories` by `owner/name` or `datasets/owner/name`."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    broken: int | None = None
    """An HTTP status that every request is answered with."""
    downloads: list[str] = field(default_factory=list)
    """The paths of the files that were sent."""
    tokens_seen: set[str] = field(default_factory=set)
    """The values of all Authorization headers that came, at whatever path."""
    tokens_given_away: int = 0
    """How often the token came to the storage of the large files, which is another host."""

    def __post_init__(self) -> None:
        hub = self

        class Handler(_Handler):
            state = hub

        self.listen(Handler)

    @property
    def storage(self) -> str:
        """Where the large files are."""
        return f"http://localhost:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._respond(send_body=True)

    def do_HEAD(self) -> None:
        self._respond(send_body=False)

    def _respond(self, *, send_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.state.tokens_seen |= set(self.headers.get_all("Authorization", []))
        if self.state.broken is not None:
            self._send(self.state.broken, b"", send_body=send_body)
        elif found := re.fullmatch(r"api/(models|datasets)/([^/]+/[^/]+)/revision/([^/]+)", path):
            prefix = "datasets/" if found[1] == "datasets" else ""
            self._listing(prefix + found[2], found[3])
        elif found := re.fullmatch(r"((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(found[1], found[2], found[3], send_body=send_body)
        elif found := re.fullmatch(r"lfs/((?:datasets/)?[^/]+/[^/]+)/(.+)", path):
            # A signed URL in the real world: who sends the token there as well, gives it away.
            self.state.tokens_given_away += "Authorization" in self.headers
            self._download(found[2], self.state.repositories[found[1]].files[found[2]], {}, send_body=send_body)
        else:
            self._send(404, b"", send_body=send_body)

    def _opened(self, name: str, commit: str) -> Repository | None:
        """The repository, or None after the refusal was sent."""
        repository = self.state.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository is None or (repository.private and token != TOKEN):
            self._send(404 if token == TOKEN else 401, b"", {"X-Error-Code": "RepoNotFound"})
        elif repository.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif commit != repository.commit:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _listing(self, name: str, commit: str) -> None:
        repository = self._opened(name, commit)
        if repository is not None:
            siblings = [_entry(path, content) for path, content in repository.files.items()]
            listing = {"id": name.removeprefix("datasets/"), "sha": commit, "siblings": siblings}
            self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, commit: str, path: str, *, send_body: bool) -> None:
        repository = self._opened(name, commit)
        if repository is None:
            return
        content = repository.files.get(path)
        if content is None:
            self._send(
                404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit}, send_body=send_body
            )
            return
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{_oid(path, content)}"'}
        if _is_large(path):
            location = f"{self.state.storage}/lfs/{name}/{path}"
            linked = {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content)), "Location": location}
            self._send(302, b"", {**headers, **linked}, send_body=send_body)
        else:
            self._download(path, content, headers, send_body=send_body)

    def _download(self, path: str, content: bytes, headers: dict[str, str], *, send_body: bool) -> None:
        if send_body:
            self.state.downloads.append(path)
        self._send(200, content, headers, send_body=send_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, send_body: bool = True) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send_body and self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Says nothing."""


def _is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def _oid(path: str, content: bytes) -> str:
    if _is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": _oid(path, content)[:40]}
    if _is_large(path):
        entry["lfs"] = {"sha256": _oid(path, content), "size": len(content), "pointerSize": 134}
    return entry
