"""What holds for all tests: they do not see the caller's environment, and start real servers on first use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from servers.s3 import S3Server

CALLERS = (
    *("AWS_", "AZURE_", "GOOGLE_", "HF_", "TRANSFORMERS_"),
    *("KUBE", "RAY_", "DS_", "XDG_STATE_HOME"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)
"""How variables begin that decide what the code under test does, in any case of letters."""
OURS = "KUBETUNE_CACHE"
"""Where the servers are kept that the tests start."""

# Without a clock: a busy machine fails no test.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def pytest_configure() -> None:
    """Takes the caller's variables away, before any library is imported that reads them."""
    for name in list(os.environ):
        if name.upper().startswith(CALLERS) and name != OURS:
            del os.environ[name]


@pytest.fixture
def s3_server(tmp_path: Path) -> Iterator[S3Server]:
    """A real S3 server of this test alone, without buckets."""
    folder = tmp_path / "s3"
    folder.mkdir()
    server = S3Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
