"""Fixtures of the tests against a real API server."""

from collections.abc import Iterator

import pytest

from servers.kube import ApiServer


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real kube-apiserver, shared by all tests: each works in objects of its own."""
    server = ApiServer(tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
