"""A real API server that knows the jobs, and a node whose kubelet gives out the logs that a test wrote."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetune_api.crd import FOLDER
from servers.kube import ApiServer
from support.cli_on_api_server import NODE, LogServer, Team, done


@pytest.fixture(scope="session")
def log_server(api_server: ApiServer) -> Iterator[LogServer]:
    """The kubelet of a node, as far as logs go."""
    server = LogServer(api_server.folder / "certificates" / "apiserver.crt")
    server.start()
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": server.port}},
    }
    done(api_server.apply(f"/api/v1/nodes/{NODE}", node))
    done(api_server.merge(f"/api/v1/nodes/{NODE}/status", {"status": status}))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def knowing_server(api_server: ApiServer) -> ApiServer:
    """The API server with the CRDs of the repository."""
    api_server.install_crds(FOLDER)
    return api_server


@pytest.fixture
def team(knowing_server: ApiServer, log_server: LogServer, tmp_path: Path) -> Team:
    """A namespace that no other test uses."""
    namespace = f"team-{secrets.token_hex(4)}"
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    done(knowing_server.create("/api/v1/namespaces", made))
    return Team(knowing_server, log_server, namespace, tmp_path)
