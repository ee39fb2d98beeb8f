"""Watches that are cut, that expire, and that cannot be opened while the cluster changes."""

import time
from collections.abc import Callable, Iterator

import pytest

from servers.control_plane import ControlPlane
from servers.kubelet import Kubelet
from servers.proxy import READS, Answer, Proxy
from support.created_objects import CreatedObjects
from support.fault_injection import FOR_EVER, JobScenario, Writes, begin, end_of, run_scenarios, steal_ray_job
from support.operator_process import Operator, settled


@pytest.fixture(autouse=True)
def undisturbed_again(proxy: Proxy) -> Iterator[None]:
    yield
    proxy.undisturbed()


@pytest.fixture
def new_scenario(plane: ControlPlane, node: Kubelet, tenant: str, behind_proxy: Operator) -> Callable[..., JobScenario]:
    """Makes scenarios in the namespace of the test."""
    return lambda failures=0: begin(plane, node, tenant, failures)


def trains(scenario: JobScenario) -> bool:
    return scenario.status.get("reason") == "Training"


def test_connections_that_break_again_and_again_change_nothing(
    plane: ControlPlane, proxy: Proxy, ray_jobs: CreatedObjects, new_scenario: Callable[..., JobScenario]
) -> None:
    writes, cuts = Writes(proxy), [time.monotonic()]
    model = new_scenario(1)
    run_scenarios([model])

    def cut_now_and_then() -> None:
        if time.monotonic() - cuts[-1] > 2:
            cuts.append(time.monotonic())
            proxy.cut()

    scenarios = [new_scenario(1) for _ in range(5)]
    run_scenarios(scenarios, meanwhile=cut_now_and_then)
    assert len(cuts) > 3
    assert [end_of(scenario)["status"] for scenario in scenarios] == [end_of(model)["status"]] * 5
    assert ray_jobs.count() == 12
    assert settled(3, lambda: writes.of(scenarios)) == 0


def test_what_happened_while_the_server_forgot_the_watches_is_found(
    plane: ControlPlane, proxy: Proxy, behind_proxy: Operator, new_scenario: Callable[..., JobScenario]
) -> None:
    writes = Writes(proxy)
    finished, deleted, robbed = scenarios = [new_scenario() for _ in range(3)]
    run_scenarios(scenarios, until=trains)
    with proxy.down():
        proxy.disturb(Answer(410, "Expired"), methods=READS, path="watch=true", times=15)
        finished.job.say_succeeded()
        assert plane.delete(deleted.job.path).accepted
        steal_ray_job(robbed)
        new = new_scenario()
    run_scenarios([finished, robbed, new])
    assert [attempt["reason"] for attempt in robbed.status["attempts"]] == ["AttemptDeleted", "ModelPublished"]
    assert (len(finished.status["attempts"]), len(new.status["attempts"])) == (1, 1)
    assert all(scenario.status["phase"] == "Succeeded" for scenario in (finished, robbed, new))
    plane.wait_for("/readyz", lambda _: behind_proxy.metric("kubetune_jobs", namespace=deleted.job.namespace) == 3)
    assert settled(3, lambda: writes.of(scenarios)) == 0


def test_a_ray_job_that_came_and_went_while_nothing_was_heard_of_ray_jobs_is_missed(
    plane: ControlPlane, proxy: Proxy, new_scenario: Callable[..., JobScenario]
) -> None:
    proxy.disturb(Answer(500, "InternalError"), methods=READS, path=r"/rayjobs\?", times=FOR_EVER)
    proxy.cut()
    scenario = new_scenario()
    scenario.job.wait_until(lambda status: (status.get("attempts") or [{}])[0].get("rayJobUid"))
    steal_ray_job(scenario)
    proxy.undisturbed()
    run_scenarios([scenario])
    assert [attempt["reason"] for attempt in scenario.status["attempts"]] == ["AttemptDeleted", "ModelPublished"]
