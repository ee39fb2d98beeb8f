"""An attempt for whose workers there are not enough nodes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_operator.jobs.plans import JobPlan
from kubetune_operator.settings import Settings
from support.observed_jobs import (
    SETTINGS,
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

NOWHERE: dict[str, Any] = {"conditions": (condition("PodScheduled", "False", "Unschedulable", "no node is free"),)}
LATER = 10_000


def workers(placed: int, all_of_them: int = 4, attempt: int = 1) -> list[Object]:
    """The pods of a job of which so many workers have a node."""
    pods = [pod(number=number, attempt=attempt, node=f"node-{number}", ready=True) for number in range(placed)]
    pods += [pod(number=number, attempt=attempt, **NOWHERE) for number in range(placed, all_of_them)]
    return [pod("head", attempt=attempt, node="node-0", ready=True, phase="Running"), *pods]


def waiting(
    *pods: Object,
    since: float | None = 0,
    now: float = 600,
    by: Object | None = None,
    fewest: int | None = 2,
    settings: Settings = SETTINGS,
    **spec: Any,
) -> JobPlan:
    """What follows where a pod has found no node since then."""
    resources = {"workers": 4} | ({} if fewest is None else {"minWorkers": fewest})
    stuck = {} if since is None else {"stuckPod": f"{name_of(1)}-worker-3", "stuckTime": at(since)}
    known = attempt(**stuck, **({"stuckReason": Reason.FEWER_WORKERS} if stuck else {}))
    found = job(started(known), resources=resources, **spec)
    return plan(found, by or profile(), ray_job(1, "Initializing"), *pods, now=now, settings=settings)


def test_an_attempt_whose_pods_find_no_node_for_ten_minutes_makes_room_for_one_with_fewer_workers() -> None:
    waits = waiting(*workers(3), since=None, now=0)
    assert (waits.status.attempts[0].stuck_reason, waits.again_after) == (Reason.FEWER_WORKERS, 600)
    assert "after ten minutes it goes on with those that have one" in (waits.status.message or "")
    assert waiting(*workers(3), now=599).status.attempts[0].completion_time is None
    ended = waiting(*workers(3)).status
    assert (ended.attempts[0].reason, ended.attempts[0].exempt, ended.attempts[0].workers) == (
        Reason.FEWER_WORKERS,
        True,
        3,
    )
    assert "for 600 seconds 3 of 4 workers had a node" in (ended.attempts[0].message or "")


def test_the_next_attempt_has_as_many_workers_as_had_a_node_and_begins_at_once() -> None:
    ended = attempt(1, ended=0, reason=Reason.FEWER_WORKERS, exempt=True, workers=3)
    begun = plan(job(started(ended), resources={"workers": 4, "minWorkers": 2}), now=0)
    assert (begun.status.attempts[1].workers, begun.status.workers) == (3, 3)
    assert begun.create is not None
    assert begun.create["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 3
    (config,) = [one for one in begun.apply if one["metadata"]["name"] == name_of(2)]
    run = json.loads(config["data"]["run.json"])
    assert (run["workers"], run["job"]["spec"]["training"]["globalBatchSize"]) == (3, 32)


def test_an_attempt_with_fewer_workers_is_whole_with_those() -> None:
    few = attempt(2, workers=3)
    ended = attempt(1, ended=0, reason=Reason.FEWER_WORKERS, exempt=True, workers=3)
    ready = [pod(number=number, attempt=2, node="n", ready=True, phase="Running") for number in range(3)]
    head = pod("head", attempt=2, node="n", ready=True, phase="Running")
    asked = {"workers": 4, "minWorkers": 2}
    waits = plan(job(started(ended, few), resources=asked), ray_job(2, "Initializing"), head, *ready).status
    assert (waits.workers, waits.ready_workers) == (3, 3)
    assert "all workers are ready" in (waits.message or "")


def test_it_becomes_smaller_again_where_even_fewer_have_a_node() -> None:
    ended = attempt(1, ended=0, reason=Reason.FEWER_WORKERS, exempt=True, workers=3)
    stuck = {"stuckPod": f"{name_of(2)}-worker-2", "stuckTime": at(0), "stuckReason": Reason.FEWER_WORKERS}
    asked = {"workers": 4, "minWorkers": 2}
    second = job(started(ended, attempt(2, workers=3, **stuck)), resources=asked)
    over = plan(second, ray_job(2, "Initializing"), *workers(2, 3, attempt=2), now=600).status.attempts[1]
    assert (over.reason, over.workers) == (Reason.FEWER_WORKERS, 2)


@pytest.mark.parametrize(
    ("pods", "fewest"),
    [
        pytest.param(workers(1), 2, id="fewer than will do"),
        pytest.param(workers(3), None, id="a job that says nothing of it"),
        pytest.param([pod("head", **NOWHERE), *workers(3)[1:]], 2, id="a head without a node"),
        pytest.param(workers(4), 2, id="nodes for all"),
    ],
)
def test_otherwise_it_waits_as_long_as_it_takes(pods: list[Object], fewest: int | None) -> None:
    assert waiting(*pods, now=LATER, fewest=fewest).status.attempts[0].completion_time is None


def ran_out(placed: int = 2, *shown: Object, **spec: Any) -> JobPlan:
    """What follows from an attempt with so many of four workers that ran out of memory, having had at most 16 rows."""
    ended = attempt(1, ended=0, reason=Reason.FEWER_WORKERS, exempt=True, workers=placed, microBatchSize=16)
    known = started(ended, attempt(2, workers=placed, microBatchSize=16))
    said = failed(Reason.OUT_OF_MEMORY, "A worker ran out of memory.")
    settings = {"workers": placed, "zeroStage": 0, "microBatchSize": 8}
    told = report(attempt=2, finished=said, resolved=settings)
    asked = {"workers": 4, "minWorkers": 1}
    return plan(job(known, resources=asked, **spec), ray_job(2, "Running"), told, *shown)


def test_one_that_ran_out_of_memory_is_followed_by_all_workers_with_the_micro_batch_as_it_was() -> None:
    over = ran_out().status
    assert (over.reason, over.attempts[1].exempt) == (Reason.WAITING_TO_RETRY, False), "it costs an attempt"
    assert "with all workers" in (over.message or "")
    begun = plan(job(over.to_dict(), resources={"workers": 4, "minWorkers": 1}), now=LATER).status.attempts[2]
    assert (begun.workers, begun.micro_batch_size) == (None, 16)
    last = ran_out(retry={"maxAttempts": 1}).status
    assert (last.phase, last.reason) == ("Failed", Reason.OUT_OF_MEMORY)


def test_its_head_without_memory_had_none_for_all_workers_either() -> None:
    killed = pod("head", attempt=2, container=terminated(137, "OOMKilled"))
    assert ran_out(2, killed).status.phase == "Failed"


@pytest.mark.parametrize(("placed", "goes_on"), [(1, False), (2, False), (3, True)])
def test_so_few_as_ran_out_of_memory_or_fewer_are_not_tried_again(placed: int, goes_on: bool) -> None:
    earlier = attempt(1, ended=0, reason=Reason.OUT_OF_MEMORY, workers=2)
    stuck = {"stuckPod": f"{name_of(2)}-worker-3", "stuckTime": at(0), "stuckReason": Reason.FEWER_WORKERS}
    known = job(started(earlier, attempt(2, **stuck)), resources={"workers": 4, "minWorkers": 1})
    over = plan(known, ray_job(2, "Initializing"), *workers(placed, attempt=2), now=600).status.attempts[1]
    assert (over.completion_time is not None) == goes_on


def test_ten_minutes_are_as_long_however_long_a_pod_may_be_without_its_image() -> None:
    settings = replace(SETTINGS, stuck_seconds=3600)
    assert waiting(*workers(3), settings=settings).status.attempts[0].reason == Reason.FEWER_WORKERS


def test_an_attempt_after_any_other_end_has_all_workers_again() -> None:
    ended = attempt(1, ended=0, reason=Reason.NODE_LOST, exempt=True, workers=3)
    begun = plan(job(started(ended), resources={"workers": 4, "minWorkers": 2}), now=LATER)
    assert (begun.status.attempts[1].workers, begun.status.workers) == (None, 4)


@pytest.mark.parametrize(("memory", "goes_on"), [("14Gi", False), ("80Gi", True)])
def test_workers_go_on_alone_only_where_their_memory_is_enough(memory: str, goes_on: bool) -> None:
    model = {"uri": "hf://EleutherAI/pythia-1.4b", "revision": "0" * 40}
    waits = waiting(*workers(2), by=profile(accelerator={"memory": memory}), model=model, task__maxLength=64)
    assert (waits.status.attempts[0].completion_time is not None) == goes_on


def test_a_pod_that_found_a_node_at_last_has_its_time_for_all_that_follows() -> None:
    fetches = pod(number=3, node="node-3", container={"state": {"waiting": {"reason": "ErrImagePull"}}})
    seen = waiting(*workers(3)[:4], fetches).status.attempts[0]
    assert (seen.completion_time, seen.stuck_reason, seen.stuck_time) == (None, Reason.REGISTRY_UNAVAILABLE, at(600))
