"""Every test of stores runs against a server of each protocol."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from servers.object_storage import SERVERS, ObjectServer, new_server
from servers.s3 import S3Server


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ObjectServer]]:
    """A server of each protocol, shared by all tests: each works in a bucket of its own."""
    with ExitStack() as stack:
        servers = {scheme: new_server(scheme, tmp_path_factory.mktemp(scheme)) for scheme in SERVERS}
        for server in servers.values():
            server.start()
            stack.callback(server.stop)
        yield servers


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, running: dict[str, ObjectServer], monkeypatch: pytest.MonkeyPatch
) -> ObjectServer:
    """The server of one protocol, which the environment names and opens."""
    found = running[request.param]
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def bucket(server: ObjectServer) -> str:
    """The URI of a bucket of this test alone."""
    return server.make_bucket(f"models-{secrets.token_hex(4)}")


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server of this test alone, with a bucket `models`, for what is S3's only."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    s3_server.make_bucket("models")
    return s3_server
