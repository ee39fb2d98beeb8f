"""An API server that is away, an operator that is away, and two operators at once: the jobs come to the same end."""

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from servers.components import Component
from servers.control_plane import ControlPlane
from servers.kubelet import Kubelet
from support.created_objects import CreatedObjects
from support.fault_injection import JobScenario, begin, end_of, namespaces, run_scenarios, steal_ray_job
from support.operator_process import RAY, Operator, running, settled


def trains(scenario: JobScenario) -> bool:
    return scenario.status.get("reason") == "Training"


def writes_of(*operators: Operator) -> float:
    """All writes but those of the Lease."""
    verbs = ("create", "apply", "patch", "delete")
    leases = sum(one.metric("kubetune_api_requests_total", verb="create", resource="leases") for one in operators)
    number = sum(one.metric("kubetune_api_requests_total", verb=verb) for one in operators for verb in verbs)
    assert number, "the operator does not answer"
    return number - leases


@pytest.mark.parametrize("end", [Component.stop, Component.kill])
def test_jobs_outlive_an_api_server_that_is_restarted(
    plane: ControlPlane, node: Kubelet, tenant: str, operator: Operator, end: Callable[[Component], None]
) -> None:
    model, *trained = [begin(plane, node, tenant) for _ in range(3)]
    run_scenarios([model])
    run_scenarios(trained, until=trains)
    begun = [begin(plane, node, tenant) for _ in range(3)]
    end(plane.kube_apiserver)
    time.sleep(3)
    plane.kube_apiserver.start()
    # In a cluster those that cannot renew their Leases end. Here they have none, and go on with informers that wait.
    plane.restart_controllers()
    scenarios = [*trained, *begun, begin(plane, node, tenant)]
    run_scenarios(scenarios)
    assert [end_of(scenario)["status"] for scenario in scenarios] == [end_of(model)["status"]] * len(scenarios)
    assert settled(3, lambda: writes_of(operator)) == 0


def test_what_happens_while_the_operator_is_down_is_found_when_it_starts(
    plane: ControlPlane, node: Kubelet, operator: Operator
) -> None:
    alone, others = namespaces(plane, [f"down-{secrets.token_hex(3)}-{number}" for number in (1, 2)])
    deleted, (finished, robbed, recreated) = begin(plane, node, alone), [begin(plane, node, others) for _ in range(3)]
    run_scenarios([deleted, finished, robbed, recreated], until=trains)
    operator.kill()
    for scenario in (deleted, recreated):
        assert plane.delete(scenario.job.path).accepted
    finished.job.say_succeeded()
    steal_ray_job(robbed)
    anew = begin(plane, node, others)
    same_name = JobScenario(recreated.job.apply())
    operator.start()
    run_scenarios([finished, robbed, anew, same_name])
    read = operator.metric("kubetune_api_requests_total", verb="get", resource="configmaps")
    assert read == 0, "all reports are read as they are listed"
    assert [len(scenario.status["attempts"]) for scenario in (finished, robbed, anew, same_name)] == [1, 2, 1, 1]
    assert robbed.status["attempts"][0]["reason"] == "AttemptDeleted"
    assert operator.metric("kubetune_jobs", namespace=alone) == 0
    assert operator.metric("kubetune_jobs", namespace=others, phase="Succeeded") == 4
    for path in (f"{RAY}/namespaces/{alone}/rayjobs", f"/api/v1/namespaces/{alone}/pods"):
        plane.wait_for(path, lambda found: not found["items"])
    assert settled(3, lambda: writes_of(operator)) == 0


def test_a_name_that_is_used_again_and_again_is_another_job_each_time(
    plane: ControlPlane, node: Kubelet, tenant: str, ray_jobs: CreatedObjects, operator: Operator
) -> None:
    scenario = begin(plane, node, tenant)
    for wait in (0, 0, 0.02, 0.1, 0.5, 1):
        time.sleep(wait)
        assert plane.delete(scenario.job.path).accepted
        scenario = JobScenario(scenario.job.apply())
    run_scenarios([scenario])
    assert len(scenario.status["attempts"]) == 1
    assert scenario.status["run"] == scenario.job.stored["metadata"]["uid"]
    assert operator.metric("kubetune_jobs", namespace=tenant) == 1
    assert 1 <= ray_jobs.count() <= 7
    # The garbage collector takes the rest.
    plane.wait_for(f"{RAY}/namespaces/{tenant}/rayjobs", lambda found: len(found["items"]) <= 1)
    assert settled(3, lambda: writes_of(operator)) == 0


def test_two_operators_that_both_believe_to_lead_start_no_attempt_twice(
    plane: ControlPlane, node: Kubelet, tenant: str, ray_jobs: CreatedObjects, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                running(
                    Operator(
                        plane.admin_kubeconfig,
                        tmp_path,
                        namespace="kubetune-system",
                        name=name,
                        leader_election="false",
                    )
                )
            )
            for name in ("one", "two")
        ]
        scenarios = [begin(plane, node, tenant, failures=1) for _ in range(4)]
        run_scenarios(scenarios)
        assert {len(scenario.status["attempts"]) for scenario in scenarios} == {2}
        assert ray_jobs.count() == 8
        assert all(writes_of(one) > 0 for one in both)
        assert settled(3, lambda: writes_of(*both)) == 0
