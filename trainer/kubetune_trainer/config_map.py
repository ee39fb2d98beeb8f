"""The doorway to the API server: the one ConfigMap that a run in a cluster may write."""

import json
import os
import ssl
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Self
from urllib.parse import quote

from kubetune_api.run import ReportTo
from kubetune_api.run_report import KEY

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a pod's token and the certificate of the API server."""
_SECONDS = 5.0
"""How long the server may be silent."""
_LONGEST_ANSWER = 65_536
"""Bytes of an answer that are read; what a sentence needs."""


class ReportError(Exception):
    """A report did not arrive; the message says why."""


@dataclass(frozen=True)
class ConfigMap:
    """The ConfigMap, through the API server that Kubernetes names to every pod."""

    target: ReportTo
    host: str
    port: int
    account: Path
    """A folder as `SERVICE_ACCOUNT`."""

    @classmethod
    def from_environment(cls, target: ReportTo, account: Path = SERVICE_ACCOUNT) -> Self:
        """The server of the cluster that this process runs in."""
        host = os.environ.get("KUBERNETES_SERVICE_HOST") or "kubernetes.default.svc"
        return cls(target, host, int(os.environ.get("KUBERNETES_SERVICE_PORT") or 443), account)

    def write(self, report: str) -> None:
        """Puts the report in the place of the last one; ReportError if the server cannot be asked, or refuses."""
        try:
            status, answer = self._patch({"data": {KEY: report}})
        except (OSError, HTTPException, ValueError) as error:
            raise ReportError(f"{self.host}:{self.port} cannot be reached: {type(error).__name__}: {error}") from error
        if status != 200:
            raise ReportError(f"{self.host}:{self.port} answered with HTTP status {status}: {_sentence(answer)}")

    def _patch(self, change: dict[str, dict[str, str]]) -> tuple[int, bytes]:
        # Both files are read anew: tokens are good for an hour or so, and certificates change too.
        trust = ssl.create_default_context(cafile=self.account / "ca.crt")
        token = (self.account / "token").read_text(encoding="ascii").strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
        connection = HTTPSConnection(self.host, self.port, timeout=_SECONDS, context=trust)
        try:
            connection.request("PATCH", self._path, json.dumps(change), headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_LONGEST_ANSWER)
        finally:
            connection.close()

    @property
    def _path(self) -> str:
        namespace, name = quote(self.target.namespace, safe=""), quote(self.target.name, safe="")
        return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


def _sentence(answer: bytes) -> str:
    """What the server says about a refusal."""
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, TypeError, KeyError):
        return answer[:200].decode(errors="replace")
