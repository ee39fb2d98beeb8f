"""Fixtures of the tests against real API servers."""

import secrets
from collections.abc import Iterator

import pytest

from servers.control_plane import ControlPlane, running_control_plane
from servers.kube import ApiServer
from servers.kubelet import Kubelet


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real kube-apiserver, shared by all tests: each works in objects of its own."""
    server = ApiServer(tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real control plane with KubeRay, shared by all tests: each works in a namespace of its own."""
    with running_control_plane(tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture
def kubelet(control_plane: ControlPlane) -> Iterator[Kubelet]:
    """A node of this test alone, with 8 GPUs; its pods run when the test says so."""
    kubelet = Kubelet(control_plane, f"node-{secrets.token_hex(4)}")
    kubelet.register()
    yield kubelet
    kubelet.unregister()


@pytest.fixture
def namespace(control_plane: ControlPlane, kubelet: Kubelet) -> Iterator[str]:
    """A namespace of this test alone, which goes with all that is in it."""
    name = control_plane.make_namespace(f"test-{secrets.token_hex(4)}")
    yield name
    control_plane.delete(f"/api/v1/namespaces/{name}")
    kubelet.keeps_deleted = False
    # No pod can be made in it any more. The rest goes in its own time, which is quarter of a minute.
    with kubelet.steps():
        control_plane.wait_for(f"/api/v1/namespaces/{name}/pods", lambda found: not found["items"])
