"""Two replicas over one Lease: one writes, the other takes over, and one that comes back late does no harm."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from servers.control_plane import ControlPlane
from servers.kubelet import Kubelet
from support.operator_process import Operator, SimulatedJob, running


@pytest.fixture
def replicas(plane: ControlPlane, tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """Two replicas, the leader first."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(
                running(Operator(plane.admin_kubeconfig, tmp_path, namespace="kubetune-system", name=name))
            )
            for name in ("first", "second")
        ]
        plane.wait_for("/readyz", lambda _: sum(one.metric("kubetune_leader") for one in made) == 1)
        leader, other = sorted(made, key=lambda one: -one.metric("kubetune_leader"))
        yield leader, other


@pytest.fixture
def job(plane: ControlPlane, node: Kubelet, tenant: str) -> SimulatedJob:
    return SimulatedJob(plane, node, tenant)


def test_the_other_replica_takes_over_when_the_leader_is_killed(
    replicas: tuple[Operator, Operator], job: SimulatedJob
) -> None:
    leader, other = replicas
    leader.kill()
    job.apply()
    job.wait_until(lambda status: status.get("attempts"))
    assert other.metric("kubetune_leader") == 1
    job.run_until_training()
    assert len(job.ray_jobs()) == 1


def test_a_leader_that_was_paused_and_comes_back_creates_no_second_attempt(
    replicas: tuple[Operator, Operator], job: SimulatedJob
) -> None:
    leader, other = replicas
    leader.process.freeze()
    job.apply()
    ray_id = job.run_until_training()
    assert other.metric("kubetune_leader") == 1
    before = job.ray_jobs()[0]["metadata"]["uid"]
    leader.process.thaw()
    job.say_succeeded()
    job.end_ray(ray_id)
    job.wait_for(phase="Succeeded")
    job.plane.wait_for("/readyz", lambda _: leader.metric("kubetune_leader") == 0)
    assert [ray_job["metadata"]["uid"] for ray_job in job.ray_jobs()] == [before]
    assert len(job.status["attempts"]) == 1
    assert leader.metric("kubetune_api_requests_total", verb="create", resource="rayjobs") == 0
