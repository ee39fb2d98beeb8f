"""A small client of the Kubernetes API, which shows what the server says: refusals are answers, not exceptions."""

import json
import ssl
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import yaml

WAIT_SECONDS = 60.0
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


class KubeClient:
    """One user's way to the API server."""

    def __init__(self, url: str, certificate: Path, token: str) -> None:
        self.url = url
        self.token = token
        self._certificate = certificate

    def kubeconfig(self, path: Path, namespace: str = "default") -> Path:
        """Writes the file by which kubectl, helm and every Kubernetes client come in as this user."""
        trust = b64encode(self._certificate.read_bytes()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {"server": self.url, "certificate-authority-data": trust}}],
            "users": [{"name": "user", "user": {"token": self.token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user", "namespace": namespace}}],
            "current-context": "tests",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def request(
        self,
        method: str,
        path: str,
        body: Object | bytes | None = None,
        *,
        media: str = "application/json",
        accept: str = "application/json",
        timeout: float = 30,
        **query: str,
    ) -> Answer:
        """One request; a body of bytes is sent as it is."""
        request = urllib.request.Request(
            f"{self.url}{path}?{urlencode(query)}",
            method=method,
            data=json.dumps(body).encode() if isinstance(body, dict) else body,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": media, "Accept": accept},
        )
        trust = ssl.create_default_context(cafile=str(self._certificate))
        try:
            with urllib.request.urlopen(request, context=trust, timeout=timeout) as answer:
                return _answer(answer.status, answer)
        except HTTPError as refusal:
            with refusal:
                return _answer(refusal.code, refusal)

    def get(self, path: str, *, accept: str = "application/json", **query: str) -> Answer:
        """Reads an object or a list."""
        return self.request("GET", path, accept=accept, **query)

    def watch(self, path: str, version: str, seconds: int) -> list[Object]:
        """What happens to the objects of a list within so many seconds, from a resource version on."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        answer = self.get(path, allowWatchBookmarks="true", **query)
        if "type" in answer.body:
            return [answer.body]
        if not answer.accepted:
            raise ConnectionError(answer.message)
        return [json.loads(line) for line in answer.message.splitlines()]

    def create(self, path: str, body: Object, **query: str) -> Answer:
        """Creates an object as `kubectl create` does: an unknown field is refused."""
        return self.request("POST", path, body, fieldValidation="Strict", **query)

    def apply(self, path: str, body: Object | bytes) -> Answer:
        """Creates or updates an object, which may be YAML, as `kubectl apply --server-side` does."""
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

    def delete(self, path: str, options: Object | None = None) -> Answer:
        """Deletes an object."""
        return self.request("DELETE", path, options)

    def wait_for(self, path: str, holds: Callable[[Object], bool]) -> Object:
        """The object or list, once this holds of it; raises with what was seen last if that takes too long.

        Until then the object need not exist, and the server may be down.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            answer = self._patient_get(path)
            if answer.accepted and holds(answer.body):
                return answer.body
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} is not what the test waits for: {json.dumps(answer.body)[-4000:]}")
            time.sleep(0.05)

    def wait_for_condition(self, path: str, condition: str) -> None:
        """Returns once the condition of the object is true; raises with the object if that takes too long."""
        self.wait_for(path, lambda found: ("True", condition) in conditions(found))

    def wait_until_gone(self, path: str) -> None:
        """Returns once the object does not exist any more; the server may be down until then."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (answer := self._patient_get(path)).status != 404:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} still exists: {json.dumps(answer.body)[-4000:]}")
            time.sleep(0.05)

    def _patient_get(self, path: str) -> Answer:
        try:
            return self.get(path)
        except (OSError, HTTPException) as error:
            return Answer(503, {"message": str(error)})


def conditions(found: Object) -> set[tuple[str, str]]:
    """The conditions of an object: status and type of each."""
    return {(condition["status"], condition["type"]) for condition in found.get("status", {}).get("conditions") or []}


def _answer(status: int, response: Any) -> Answer:
    text = response.read().decode(errors="replace")
    try:
        body = json.loads(text)
    except ValueError:  # `/readyz` says "ok", and a server that is starting says other things
        body = {"message": text}
    warnings = response.headers.get_all("Warning") or []
    # Each is `299 - "the sentence"`, its own quotes escaped.
    return Answer(status, body, tuple(warning[len('299 - "') : -1].replace('\\"', '"') for warning in warnings))
