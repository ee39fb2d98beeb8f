"""Which nodes an attempt failed on, and which the next ones avoid."""

from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.status import MOST_AVOIDED, FineTuneJobStatus
from kubetune_operator.jobs.events import transitions_of
from kubetune_operator.jobs.plans import JobPlan
from support.observed_jobs import (
    Object,
    at,
    attempt,
    condition,
    failed,
    job,
    name_of,
    plan,
    pod,
    profile,
    ray_job,
    report,
    started,
    terminated,
)

LATER = 10_000


def lost(number: int, node: str = "node-1", **more: Any) -> Object:
    """An attempt that lost its node."""
    return attempt(number, ended=0, reason=Reason.NODE_LOST, exempt=True, failedNode=node) | more


def after(*attempts: Object, by: Object | None = None, now: float = LATER) -> JobPlan:
    """The plan for the attempt after these."""
    return plan(job(started(*attempts)), by or profile(), now=now)


def avoided(*attempts: Object, now: float = LATER) -> list[str]:
    """The nodes that the attempt after these avoids."""
    begun = after(*attempts, now=now).status.attempts[-1]
    assert begun.completion_time is None
    return begun.avoided_nodes


def node_of_the_end(*shown: Object) -> str | None:
    """The node that an attempt points at which ends without a word of its trainer."""
    ended = plan(job(started(attempt())), ray_job(1, "Failed", ended=0), *shown, now=100).status.attempts[0]
    assert ended.completion_time
    return ended.failed_node


TAINTED = {"conditions": (condition("DisruptionTarget", reason="DeletionByTaintManager", message="not ready"),)}


def test_an_attempt_that_lost_a_node_says_which() -> None:
    others = pod("head", node="node-1"), pod(number=1, node="node-3")
    assert node_of_the_end(others[0], pod(node="node-2", **TAINTED), others[1]) == "node-2"


def test_a_container_that_the_kubelet_does_not_find_any_more_is_a_lost_node() -> None:
    gone = terminated(137, "ContainerStatusUnknown", "The container could not be located")
    assert node_of_the_end(pod(node="node-2", container=gone, phase="Failed")) == "node-2"
    evicted = pod(node="node-2", container=gone, phase="Failed", reason="Evicted", message="low on memory")
    assert node_of_the_end(evicted) is None, "that explains it"
    assert node_of_the_end(pod(node="node-2", sidecar=gone)) is None, "another's container"


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(pod(node="node-2", container=terminated(137, "OOMKilled")), id="no memory"),
        pytest.param(pod(node="node-2", container=terminated(1)), id="an error of the run"),
        pytest.param(
            pod(node="node-2", conditions=(condition("DisruptionTarget", reason="PreemptionByScheduler"),)),
            id="preempted",
        ),
        pytest.param(pod(node="node-2", phase="Failed", reason="Evicted"), id="evicted"),
        pytest.param(pod(node="node-2", phase="Failed", reason="Terminated"), id="a shutdown in order"),
        pytest.param(pod(node="node-2", phase="Failed", reason="NodeShutdown"), id="a node that shuts down"),
    ],
)
def test_what_is_no_fault_of_a_node_points_at_none(shown: Object) -> None:
    assert node_of_the_end(shown) is None


def test_the_node_is_kept_though_its_pods_are_gone() -> None:
    seen = plan(job(started(attempt())), ray_job(1, "Running"), pod("head"), pod(node="node-2", **TAINTED)).status
    gone = plan(job(seen.to_dict()), ray_job(1, "Failed", ended=0), now=100).status.attempts[0]
    assert (gone.reason, gone.failed_node) == (Reason.NODE_LOST, "node-2")


def test_a_node_that_was_lost_before_the_run_began_is_no_node_of_its_end() -> None:
    seen = plan(job(started(attempt())), ray_job(1, "Initializing"), pod("head"), pod(node="node-2", **TAINTED)).status
    assert seen.attempts[0].failed_node == "node-2"
    whole = [pod("head", ready=True, phase="Running"), pod(number=1, ready=True, phase="Running", node="node-3")]
    runs = plan(job(seen.to_dict()), ray_job(1, "Running"), *whole).status
    assert runs.attempts[0].failed_node is None


def test_the_trainer_names_the_pod_whose_accelerator_failed() -> None:
    said = failed(Reason.ACCELERATOR_FAILED, f"an accelerator of {name_of(1)}-worker-1 failed")
    shown = [pod("head", node="node-1"), pod(node="node-2"), pod(number=1, node="node-3")]
    ended = plan(job(started(attempt(runningTime=at(0)))), ray_job(1, "Running"), *shown, report(finished=said)).status
    assert (ended.attempts[0].reason, ended.attempts[0].failed_node) == (Reason.ACCELERATOR_FAILED, "node-3")


def test_a_node_is_avoided_after_its_second_failure() -> None:
    assert avoided(lost(1)) == []
    assert avoided(lost(1), lost(2, "node-2")) == []
    accelerator = attempt(3, ended=0, reason=Reason.ACCELERATOR_FAILED, failedNode="node-1")
    assert avoided(lost(1), lost(2, "node-2"), accelerator) == ["node-1"]


def test_it_stays_avoided_though_its_failures_are_no_longer_listed() -> None:
    assert avoided(lost(12, "node-2", avoidedNodes=["node-1"])) == ["node-1"]


def test_a_suspension_lets_all_nodes_be_used_again() -> None:
    suspended = attempt(3, ended=0, reason=Reason.SUSPENDED, exempt=True, avoidedNodes=["node-1"])
    assert avoided(lost(1), lost(2), suspended) == []
    assert avoided(lost(1), lost(2), suspended, lost(4)) == [], "what was before does not count"


def test_a_suspension_between_two_attempts_does_so_too() -> None:
    status = started(lost(1), lost(2), lost(3, avoidedNodes=["node-1"]))
    suspended = plan(job(status, suspend=True), now=100).status
    assert suspended.phase == "Suspended"
    assert plan(job(suspended.to_dict(), suspend=True), now=200).status.attempts == suspended.attempts
    assert avoided(*suspended.to_dict()["attempts"]) == []


def test_failures_count_for_a_day_and_a_node_is_avoided_for_one() -> None:
    day = 24 * 3600
    twice, avoids = (lost(1), lost(2, completionTime=at(100))), {"avoidedNodes": ["node-1"]}
    assert avoided(*twice, now=day - 1) == ["node-1"]
    assert avoided(*twice, now=day) == []
    later = lost(3, "node-2", startTime=at(1000), completionTime=at(day), **avoids)
    again = lost(4, "node-3", startTime=at(day), completionTime=at(day), **avoids)
    assert avoided(*twice, later, again, now=day + 999) == ["node-1"]
    assert avoided(*twice, later, again, now=day + 1000) == []


def test_only_so_many_are_avoided_and_the_first_is_used_again() -> None:
    many = [f"node-{number}" for number in range(MOST_AVOIDED)]
    assert avoided(lost(1, "new"), lost(2, "new", avoidedNodes=many)) == [*many[1:], "new"]


def test_no_pod_of_the_attempt_goes_to_a_node_that_it_avoids() -> None:
    spec = after(lost(1), lost(2), by=profile(nodeSelector={"gpu": "a100"})).create
    assert spec is not None
    cluster = spec["spec"]["rayClusterSpec"]
    templates = [
        spec["spec"]["submitterPodTemplate"],
        cluster["headGroupSpec"]["template"],
        cluster["workerGroupSpecs"][0]["template"],
    ]
    expressions = [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node-1"]}]
    wanted = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    for template in templates:
        assert template["spec"]["affinity"] == {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": wanted}
        }
    assert templates[2]["spec"]["nodeSelector"] == {"gpu": "a100"}
    plain = after(lost(1)).create
    assert plain is not None
    assert "affinity" not in plain["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]


def test_pods_that_find_no_node_say_which_ones_are_avoided_and_how_to_use_them_again() -> None:
    waits = pod(conditions=(condition("PodScheduled", "False", "Unschedulable", "0/2 nodes are available"),))
    status = started(attempt(avoidedNodes=["node-1", "node-2"]))
    message = plan(job(status), ray_job(1, "Initializing"), pod("head"), waits).status.message or ""
    assert "0/2 nodes are available; avoided, because two attempts failed there: node-1 and node-2; to use" in message


def test_an_event_names_a_node_once() -> None:
    first = events_of_the_next(lost(1), lost(2))
    assert [reason for reason, _ in first] == ["AttemptStarted", "NodeAvoided"]
    assert first[1][1] == "Two attempts failed on node-1: attempt 3 and later ones avoid it."
    again = events_of_the_next(lost(1), lost(2), lost(3, "node-2", avoidedNodes=["node-1"]))
    assert [reason for reason, _ in again] == ["AttemptStarted"]


def events_of_the_next(*attempts: Object) -> list[tuple[str, str]]:
    """Reason and note of each event of the attempt that follows these."""
    status = started(*attempts, reason=Reason.STARTING)
    begun = after(*attempts).status
    return [(told.reason, told.note) for told in transitions_of(FineTuneJobStatus.model_validate(status), begun)]
