"""An operator that dies after any write of a job's life: the next one brings the job to the very same end."""

import re
import secrets

import pytest

from servers.control_plane import ControlPlane
from servers.kubelet import Kubelet
from servers.proxy import WRITES, LoseReply, Proxy
from support.fault_injection import Life, Writes, begin, created, cut_after, end_of, live, namespaces
from support.operator_process import Operator, settled


@pytest.mark.parametrize("failures", [pytest.param(0, id="one attempt"), pytest.param(1, id="a retry")])
def test_wherever_the_operator_dies_the_next_one_comes_to_the_same_end(
    plane: ControlPlane, node: Kubelet, proxy: Proxy, behind_proxy: Operator, failures: int
) -> None:
    """The lives run side by side. Of each, one more write comes through than of the one before; when none of them goes
    on any more, the operator is killed."""
    before, writes, word = created(plane, "rayjobs"), Writes(proxy), secrets.token_hex(3)
    model = begin(plane, node, *namespaces(plane, [f"{word}-0"]), failures)
    live([model], until=lambda life: life.status.get("reason") == "Training")
    # Until here, a life with a retry is like one without.
    first = writes[f"{word}-0"] if failures else 1
    live([model])
    last, ray_jobs = writes[f"{word}-0"], created(plane, "rayjobs") - before
    assert ray_jobs == failures + 1

    numbers = range(first, last + 1)
    for number in numbers:
        cut_after(proxy, f"{word}-{number}", number)
    made = namespaces(plane, [f"{word}-{number}" for number in numbers])
    lives = [begin(plane, node, namespace, failures) for namespace in made]
    live(lives, until=lambda life: life.over or writes[life.job.namespace] >= _number(life))
    undisturbed = [life for life in lives if writes[life.job.namespace] < _number(life)]
    behind_proxy.kill()
    proxy.undisturbed()
    behind_proxy.start()
    live(lives)

    assert {_number(life): end_of(life) for life in lives} == dict.fromkeys(numbers, end_of(model))
    assert created(plane, "rayjobs") - before == ray_jobs * (len(lives) + 1)
    assert settled(3, lambda: writes.of(lives)) == 0
    # The operator may say two things in one write where the model said them in two.
    assert len(undisturbed) <= 2


@pytest.mark.parametrize("write", ["/finetunejobs/.*/status", "/configmaps/", "/rayjobs"])
def test_an_operator_that_is_killed_while_a_write_is_on_its_way_is_followed_by_one_that_sees_it_done(
    plane: ControlPlane, node: Kubelet, tenant: str, proxy: Proxy, behind_proxy: Operator, write: str
) -> None:
    before, writes, path = created(plane, "rayjobs"), Writes(proxy), f"/namespaces/{tenant}{write}"
    proxy.disturb(LoseReply(), path=path)
    life = begin(plane, node, tenant)
    live([life], until=lambda _: came(proxy, path))
    behind_proxy.kill()
    proxy.undisturbed()
    behind_proxy.start()
    live([life])
    assert len(life.status["attempts"]) == 1
    assert created(plane, "rayjobs") - before == 1
    assert settled(3, lambda: writes.of([life])) == 0


def came(proxy: Proxy, path: str) -> bool:
    requests = list(proxy.requests)
    return any(request.method in WRITES and re.search(path, request.path) for request in requests)


def _number(life: Life) -> int:
    return int(life.job.namespace.rpartition("-")[2])
