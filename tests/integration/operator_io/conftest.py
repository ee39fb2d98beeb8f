"""Fixtures of the tests of the operator's ways to the API server."""

import secrets
from collections.abc import Iterator

import pytest

from kubetune_api.crd import FOLDER
from servers.kube import ApiServer
from servers.kube_client import KubeClient
from servers.proxy import Proxy


@pytest.fixture(scope="session")
def server(api_server: ApiServer) -> ApiServer:
    """The API server with the CRDs of the repository."""
    api_server.install_crds(FOLDER)
    return api_server


@pytest.fixture
def proxy(server: ApiServer) -> Iterator[Proxy]:
    """A proxy before the server, for this test alone."""
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
def namespace(server: ApiServer) -> str:
    """A namespace of this test alone."""
    name = f"test-{secrets.token_hex(4)}"
    answer = server.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    assert answer.accepted, answer.message
    return name


@pytest.fixture
def account(server: ApiServer, namespace: str) -> KubeClient:
    """A ServiceAccount of this test alone, named `operator`, that has no right yet."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    answer = server.create(accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}})
    assert answer.accepted, answer.message
    return server.as_service_account(namespace, "operator")
