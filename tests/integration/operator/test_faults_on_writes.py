"""Writes that are lost, refused and answered with errors, one after another: the job comes to the same end."""

import secrets
from collections.abc import Iterator

import pytest

from servers.control_plane import ControlPlane
from servers.kubelet import Kubelet
from servers.proxy import READS, Answer, Fault, LoseReply, LoseRequest, Proxy
from support.created_objects import CreatedObjects
from support.fault_injection import Writes, begin, disturb_every_third, end_of, namespaces, run_scenarios
from support.operator_process import Operator, settled

FAULTS: dict[str, Fault] = {
    "lost-reply": LoseReply(),
    "lost-request": LoseRequest(),
    "conflict": Answer(409, "Conflict"),
    "too-many": Answer(429, "TooManyRequests", retry_after=1),
    "error": Answer(500, "InternalError"),
}


@pytest.fixture
def undisturbed_again(proxy: Proxy) -> Iterator[None]:
    yield
    proxy.undisturbed()


@pytest.mark.usefixtures("undisturbed_again")
def test_each_write_may_fail_in_every_way_and_the_job_comes_to_the_same_end(
    plane: ControlPlane, node: Kubelet, proxy: Proxy, ray_jobs: CreatedObjects, behind_proxy: Operator
) -> None:
    """Each write is disturbed in one of three scenarios that run side by side for each fault."""
    writes, word = Writes(proxy), secrets.token_hex(3)
    names = {f"{word}-{name}-{first}": (fault, first) for name, fault in FAULTS.items() for first in (1, 2, 3)}
    made = namespaces(plane, [f"{word}-model", *names])
    for name, (fault, first) in names.items():
        disturb_every_third(proxy, fault, name, first)
    model, *scenarios = [begin(plane, node, name, failures=1) for name in made]
    run_scenarios([model, *scenarios])
    assert {scenario.job.namespace: end_of(scenario) for scenario in scenarios} == dict.fromkeys(names, end_of(model))
    assert ray_jobs.count() == 2 * (len(scenarios) + 1)
    assert settled(3, lambda: writes.of(scenarios)) == 0
    assert behind_proxy.metric("kubetune_reconcile_errors_total") > 0


@pytest.mark.usefixtures("undisturbed_again")
@pytest.mark.parametrize("fault", ["too-many", "error"])
def test_an_operator_that_starts_while_the_server_has_trouble_gets_there(
    plane: ControlPlane, node: Kubelet, tenant: str, proxy: Proxy, behind_proxy: Operator, fault: str
) -> None:
    behind_proxy.kill()
    scenario = begin(plane, node, tenant)
    proxy.disturb(FAULTS[fault], methods=READS, times=30)
    behind_proxy.start()
    run_scenarios([scenario])
    assert len(scenario.status["attempts"]) == 1
