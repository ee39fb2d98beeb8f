"""An operator that dies after any write of a job: the next one brings the job to the very same end."""

import re
import secrets

import pytest

from servers.control_plane import ControlPlane
from servers.kubelet import Kubelet
from servers.proxy import WRITES, LoseReply, Proxy
from support.created_objects import CreatedObjects
from support.fault_injection import JobScenario, Writes, begin, cut_after, end_of, namespaces, run_scenarios
from support.operator_process import Operator, settled


@pytest.mark.parametrize("failures", [pytest.param(0, id="one attempt"), pytest.param(1, id="a retry")])
def test_wherever_the_operator_dies_the_next_one_comes_to_the_same_end(
    plane: ControlPlane, node: Kubelet, proxy: Proxy, ray_jobs: CreatedObjects, behind_proxy: Operator, failures: int
) -> None:
    """The scenarios run side by side. Of each, one more write comes through than of the one before; when none of them
    goes on any more, the operator is killed."""
    writes, word = Writes(proxy), secrets.token_hex(3)
    model = begin(plane, node, *namespaces(plane, [f"{word}-0"]), failures)
    run_scenarios([model], until=lambda scenario: scenario.status.get("reason") == "Training")
    # Until here, a scenario with a retry is like one without.
    first = writes[f"{word}-0"] if failures else 1
    run_scenarios([model])
    last = writes[f"{word}-0"]
    assert ray_jobs.count() == failures + 1

    numbers = range(first, last + 1)
    for number in numbers:
        cut_after(proxy, f"{word}-{number}", number)
    made = namespaces(plane, [f"{word}-{number}" for number in numbers])
    scenarios = [begin(plane, node, namespace, failures) for namespace in made]
    run_scenarios(
        scenarios, until=lambda scenario: scenario.over or writes[scenario.job.namespace] >= _number(scenario)
    )
    undisturbed = [scenario for scenario in scenarios if writes[scenario.job.namespace] < _number(scenario)]
    behind_proxy.kill()
    proxy.undisturbed()
    behind_proxy.start()
    run_scenarios(scenarios)

    assert {_number(scenario): end_of(scenario) for scenario in scenarios} == dict.fromkeys(numbers, end_of(model))
    assert ray_jobs.count() == (failures + 1) * (len(scenarios) + 1)
    assert settled(3, lambda: writes.of(scenarios)) == 0
    # The operator may say two things in one write where the model said them in two.
    assert len(undisturbed) <= 2


@pytest.mark.parametrize("write", ["/finetunejobs/.*/status", "/configmaps/", "/rayjobs"])
def test_an_operator_that_is_killed_while_a_write_is_on_its_way_is_followed_by_one_that_sees_it_done(
    plane: ControlPlane,
    node: Kubelet,
    tenant: str,
    proxy: Proxy,
    ray_jobs: CreatedObjects,
    behind_proxy: Operator,
    write: str,
) -> None:
    writes, path = Writes(proxy), f"/namespaces/{tenant}{write}"
    proxy.disturb(LoseReply(), path=path)
    scenario = begin(plane, node, tenant)
    run_scenarios([scenario], until=lambda _: came(proxy, path))
    behind_proxy.kill()
    proxy.undisturbed()
    behind_proxy.start()
    run_scenarios([scenario])
    assert len(scenario.status["attempts"]) == 1
    assert ray_jobs.count() == 1
    assert settled(3, lambda: writes.of([scenario])) == 0


def came(proxy: Proxy, path: str) -> bool:
    requests = list(proxy.requests)
    return any(request.method in WRITES and re.search(path, request.path) for request in requests)


def _number(scenario: JobScenario) -> int:
    return int(scenario.job.namespace.rpartition("-")[2])
