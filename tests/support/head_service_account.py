"""The ServiceAccount of a run's head on a real API server: its files as a pod has them, and its one right."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubetune_api.run_report import KEY, RunReport
from servers.kube import ApiServer
from servers.kube_client import Object

CONFIG_MAP = "tiny-reports"
WAIT_SECONDS = 600.0
"""What a trainer may take to its next report on a busy machine: to its first, it loads torch and Ray."""
_RBAC = "rbac.authorization.k8s.io"


class HeadAccount:
    """The account, in a namespace of its own, and the ConfigMap that it may write."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.namespace = f"team-{secrets.token_hex(4)}"

    def create(self) -> None:
        """Makes namespace, account, ConfigMap and right, and writes the files `token` and `ca.crt`."""
        self._make("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": self.namespace}})
        self._make(self._all("serviceaccounts"), {"kind": "ServiceAccount", "metadata": {"name": "head"}})
        config_map: Object = {"kind": "ConfigMap", "metadata": {"name": CONFIG_MAP, "labels": {"a": "b"}}}
        self._make(self._all("configmaps"), config_map | {"data": {"other": "kept"}})
        rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_MAP]}
        role: Object = {"kind": "Role", "metadata": {"name": CONFIG_MAP}, "rules": [rule | {"verbs": ["get", "patch"]}]}
        self._make(self._all("roles", f"apis/{_RBAC}/v1"), role)
        self.grant()
        (self.folder / "token").write_text(self.server.as_service_account(self.namespace, "head").token)
        (self.folder / "ca.crt").write_bytes((self.server.folder / "certificates" / "apiserver.crt").read_bytes())

    def grant(self) -> None:
        """Gives the right."""
        binding: Object = {
            "kind": "RoleBinding",
            "metadata": {"name": CONFIG_MAP},
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": CONFIG_MAP},
            "subjects": [{"kind": "ServiceAccount", "name": "head", "namespace": self.namespace}],
        }
        self._make(self._bindings, binding)

    def revoke(self) -> None:
        """Takes the right away."""
        assert self.server.delete(f"{self._bindings}/{CONFIG_MAP}").accepted

    def delete(self) -> None:
        """Removes what was made; without a controller manager, nobody would."""
        for path in (f"{self._bindings}/{CONFIG_MAP}", f"{self._all('configmaps')}/{CONFIG_MAP}"):
            self.server.delete(path)

    def config_map(self) -> dict[str, Any]:
        """The ConfigMap as the server has it."""
        answer = self.server.get(f"{self._all('configmaps')}/{CONFIG_MAP}")
        assert answer.accepted, answer.message
        return answer.body

    def report(self) -> RunReport:
        """The last report that arrived."""
        return RunReport.model_validate_json(self.config_map()["data"][KEY])

    def wait_for(self, holds: Callable[[RunReport], bool]) -> RunReport:
        """The report, once this holds of it; raises with the last one if that takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            text = self.config_map()["data"].get(KEY)
            if text is not None and holds(report := RunReport.model_validate_json(text)):
                return report
            if time.monotonic() > deadline:
                raise TimeoutError(f"the report is not what the test waits for: {text}")
            time.sleep(0.1)

    @property
    def _bindings(self) -> str:
        return self._all("rolebindings", f"apis/{_RBAC}/v1")

    def _all(self, plural: str, group: str = "api/v1") -> str:
        return f"/{group}/namespaces/{self.namespace}/{plural}"

    def _make(self, path: str, body: Object) -> None:
        group = path.removeprefix("/").partition("/namespaces")[0].partition("/")[2]
        answer = self.server.create(path, {"apiVersion": group, **body})
        assert answer.accepted, answer.message
