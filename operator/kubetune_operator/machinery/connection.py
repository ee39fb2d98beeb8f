"""How to reach the API server: its address, whom to trust, and who we are. The only module that imports `kubernetes`.

In a pod these are the ServiceAccount's files, whose token Kubernetes rotates, so it is read again and again. Elsewhere
it is a kubeconfig file, as kubectl reads it; only there is `kubernetes` needed, which takes a second to import.
"""

import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ACCOUNT_FILES = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_SECONDS = 60.0
"""How long a token counts before its file is read again."""

Authorization = Callable[[bool], str | None]
"""Gives the value of the Authorization header; True asks for one that is read anew."""


@dataclass(frozen=True)
class Connection:
    """The way to one API server, as one user."""

    server: str
    """The URL, without a slash at its end."""
    authorization: Authorization
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    insecure: bool = False

    def headers(self, *, anew: bool = False) -> dict[str, str]:
        """The headers of every request; `anew` after the server refused those that were given before."""
        value = self.authorization(anew)
        return {"Authorization": value.strip()} if value else {}

    @cached_property
    def ssl(self) -> ssl.SSLContext:
        """Whom to trust, and the client's certificate if it has one."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def load_connection(kubeconfig: str | None = None, environment: Mapping[str, str] = os.environ) -> Connection:
    """The connection by the named kubeconfig file; without one by the pod's ServiceAccount, or by kubectl's own file.

    ValueError where there is none.
    """
    if kubeconfig is None and environment.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(ACCOUNT_FILES, environment)
    return _of_kubeconfig(kubeconfig)


def in_cluster(files: Path, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> Connection:
    """The connection of a pod whose ServiceAccount's files are in this folder."""
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    token, authority = files / "token", files / "ca.crt"
    for file in (token, authority):
        if not file.exists():
            raise ValueError(f"{file} does not exist; give the pod a ServiceAccount and mount its token")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Connection(server, _TokenFile(token, clock), ca_file=str(authority))


class _TokenFile:
    """A token that is read again after a while."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._value = ""
        self._read_at = float("-inf")

    def __call__(self, anew: bool) -> str:
        if anew or self._clock() - self._read_at >= TOKEN_SECONDS:
            self._value = f"Bearer {self._path.read_text().strip()}"
            self._read_at = self._clock()
        return self._value


def _of_kubeconfig(path: str | None) -> Connection:
    configuration = _loaded(path)

    def authorization(anew: bool) -> str | None:
        nonlocal configuration
        if anew:
            configuration = _loaded(path)
        # It asks login plugins again by itself when their answer has expired.
        value: str | None = configuration.get_api_key_with_prefix("BearerToken")
        return value

    return Connection(
        configuration.host,
        authorization,
        ca_file=configuration.ssl_ca_cert,
        certificate_file=configuration.cert_file,
        key_file=configuration.key_file,
        insecure=not configuration.verify_ssl,
    )


def _loaded(path: str | None) -> Any:
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, load_kube_config

    configuration = Configuration()
    try:
        load_kube_config(path, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise ValueError(f"no way to a Kubernetes cluster: {error}; set KUBECONFIG, or run in a pod") from error
    return configuration
