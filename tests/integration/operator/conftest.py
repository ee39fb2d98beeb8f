"""A control plane of the operator's own tests, where one replica serves all tests that leave it alone."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers.control_plane import ControlPlane, running_control_plane
from servers.kubelet import Kubelet
from servers.proxy import Proxy
from support.created_objects import CreatedObjects
from support.operator_process import RAY, RESTRICTED, Operator, SimulatedJob, install, running


@pytest.fixture(scope="package")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with our CRDs, a profile and a node that runs every pod."""
    with running_control_plane(tmp_path_factory.mktemp("operator-plane")) as plane:
        install(plane)
        yield plane


@pytest.fixture(scope="package")
def node(plane: ControlPlane) -> Iterator[Kubelet]:
    """The node, whose pods run at once unless a test says otherwise."""
    kubelet = Kubelet(plane, capacity={"cpu": "999", "memory": "9Ti", "pods": "9999", "nvidia.com/gpu": "99"})
    kubelet.register()
    with kubelet.steps():
        yield kubelet


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The one replica."""
    folder = tmp_path_factory.mktemp("operator")
    with running(Operator(plane.admin_kubeconfig, folder, namespace="kubetune-system")) as operator:
        yield operator


@pytest.fixture
def tenant(plane: ControlPlane) -> str:
    """A namespace of this test alone, with Pod Security `restricted`."""
    return plane.make_namespace(f"team-{secrets.token_hex(3)}", **RESTRICTED)


@pytest.fixture
def ray_jobs(plane: ControlPlane) -> Iterator[CreatedObjects]:
    """The RayJobs that are created in the test, in whatever namespace."""
    with CreatedObjects(plane, f"{RAY}/rayjobs").followed() as created:
        yield created


@pytest.fixture
def new_job(plane: ControlPlane, node: Kubelet, tenant: str, operator: Operator) -> Callable[[], SimulatedJob]:
    """Makes jobs for the test."""
    return lambda: SimulatedJob(plane, node, tenant)


@pytest.fixture
def job(new_job: Callable[[], SimulatedJob]) -> SimulatedJob:
    """A job of this test, not yet applied."""
    return new_job()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of this test alone."""
    return tmp_path


@pytest.fixture(scope="module")
def proxy(plane: ControlPlane) -> Iterator[Proxy]:
    """A proxy before the API server, through which nobody goes but who is told to."""
    with Proxy(plane) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def behind_proxy(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The one replica of a module whose tests disturb its requests."""
    folder = tmp_path_factory.mktemp("operator")
    kubeconfig = proxy.client().kubeconfig(folder / "kubeconfig")
    with running(Operator(kubeconfig, folder, namespace="kubetune-system")) as operator:
        yield operator
