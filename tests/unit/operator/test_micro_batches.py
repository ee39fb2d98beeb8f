"""What follows from an attempt that ran out of memory."""

import json
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.status import FineTuneJobStatus
from kubetune_operator.jobs.events import transitions_of
from kubetune_operator.jobs.plans import JobPlan
from support.observed_jobs import (
    Object,
    attempt,
    failed,
    job,
    plan,
    pod,
    profile,
    ray_job,
    report,
    started,
    terminated,
)
from support.simulated_cluster import (
    Act,
    SimulatedCluster,
    node_is_lost,
    pods_end,
    pods_run,
    ray_job_ends,
    seconds,
    trainer_says,
)

OUT_OF_MEMORY = failed(Reason.OUT_OF_MEMORY, "A worker ran out of memory.")
ENDS = (ray_job_ends("Failed", "FAILED"), seconds(10), pods_end, seconds(3600))


def took(rows: int, workers: int = 1) -> Object:
    """What a trainer says of how it trains."""
    return {"workers": workers, "zeroStage": 0, "microBatchSize": rows}


def after_one_with(rows: int | None, *shown: Object, workers: int = 1, **spec: Any) -> JobPlan:
    """What follows from an attempt that took so many rows at a time and ran out of memory, as its trainer says."""
    said = {} if rows is None else {"resolved": took(rows, workers)}
    return plan(job(started(attempt()), **spec), ray_job(1, "Running"), report(finished=OUT_OF_MEMORY, **said), *shown)


def trainer_runs_out(cluster: SimulatedCluster) -> None:
    """The trainer of the running attempt takes what its run says, eight rows where that says nothing, and fails."""
    size = rows_of_run(cluster) or 8
    trainer_says(resolved=took(size), finished=OUT_OF_MEMORY)(cluster)


def rows_of_run(cluster: SimulatedCluster) -> int | None:
    """The micro-batch of the newest run."""
    run = json.loads(cluster.things["ConfigMap", cluster.created[-1]]["data"]["run.json"])
    size: int | None = run["job"]["spec"]["training"].get("microBatchSize")
    return size


def sizes(cluster: SimulatedCluster, acts: tuple[Act, ...], times: int) -> list[int | None]:
    """The micro-batch of each attempt, the acts following each."""
    cluster.settle()
    found = []
    for _ in range(times):
        found.append(rows_of_run(cluster))
        cluster.after(*acts)
    return found


def test_an_attempt_that_ran_out_of_memory_is_followed_by_one_with_half_its_micro_batch_for_nothing() -> None:
    ended = after_one_with(8, retry={"maxAttempts": 1})
    assert (ended.status.phase, ended.status.reason) == ("Pending", Reason.WAITING_TO_RETRY)
    assert (ended.status.attempts[0].exempt, ended.status.attempts[0].micro_batch_size) == (True, 8)
    assert "with micro-batches of 4" in (ended.status.message or "")
    assert ended.status.resolved is not None
    assert ended.status.resolved.micro_batch_size == 8, "the status says what ran"


def test_it_is_halved_until_one_row_is_left_and_then_the_job_has_failed() -> None:
    cluster = SimulatedCluster(retry={"maxAttempts": 1})
    assert sizes(cluster, (pods_run, trainer_runs_out, *ENDS), 4) == [None, 4, 2, 1]
    assert (cluster.phase, cluster.status["reason"]) == ("Failed", Reason.OUT_OF_MEMORY)
    assert cluster.status["message"] == "A worker ran out of memory. (its micro-batches had one row)"
    assert [one["microBatchSize"] for one in cluster.status["attempts"]] == [8, 4, 2, 1]


@pytest.mark.parametrize("dies_after", range(1, 40, 3))
def test_wherever_the_operator_dies_the_sizes_are_the_same(dies_after: int) -> None:
    cluster = SimulatedCluster(dies_after=dies_after)
    assert sizes(cluster, (pods_run, trainer_runs_out, *ENDS), 4) == [None, 4, 2, 1]


def test_the_size_of_the_manifest_is_halved_like_any_other_and_the_status_says_what_runs() -> None:
    cluster = SimulatedCluster(training={"microBatchSize": 6})
    assert sizes(cluster, (pods_run, trainer_runs_out, *ENDS), 2) == [6, 3]
    assert cluster.status["resolved"]["microBatchSize"] == 1
    assert (rows_of_run(cluster), cluster.status["attempts"][-1]["microBatchSize"]) == (1, 1)


def test_an_attempt_after_one_that_lost_its_node_is_as_small_as_that_one() -> None:
    cluster = SimulatedCluster().after(pods_run, trainer_runs_out, *ENDS, pods_run, node_is_lost, *ENDS)
    assert [one["reason"] for one in cluster.status["attempts"][:-1]] == [Reason.OUT_OF_MEMORY, Reason.NODE_LOST]
    assert [one["microBatchSize"] for one in cluster.status["attempts"]] == [8, 4, 4]
    assert rows_of_run(cluster) == 4


def test_a_worker_that_the_kubelet_killed_for_memory_counts_like_what_the_trainer_says() -> None:
    killed = pod(container=terminated(137, "OOMKilled"))
    shown = [ray_job(1, "Failed", ended=0), pod("head"), killed, report(resolved=took(8))]
    ended = plan(job(started(attempt())), *shown, now=100).status
    assert (ended.reason, ended.attempts[0].micro_batch_size) == (Reason.WAITING_TO_RETRY, 8)


def test_a_head_that_was_killed_for_memory_takes_no_rows_so_that_fewer_would_not_help() -> None:
    killed = pod("head", container=terminated(137, "OOMKilled"))
    ended = plan(job(started(attempt())), ray_job(1, "Failed", ended=0), killed, report(resolved=took(8)), now=100)
    assert (ended.status.phase, ended.status.reason) == ("Failed", Reason.OUT_OF_MEMORY)
    assert "spec.head.memory" in (ended.status.message or "")


def test_a_run_that_had_no_memory_before_it_took_any_rows_has_failed() -> None:
    assert after_one_with(None).status.phase == "Failed"


def test_a_task_that_compares_the_rows_of_a_micro_batch_has_failed() -> None:
    compares = {"task": {"type": "Embedding"}, "dataset__columns": {"anchor": "a", "positive": "b"}}
    assert after_one_with(8, **compares).status.phase == "Failed"


def test_half_is_that_of_a_worker_s_share_of_the_global_batch() -> None:
    ended = after_one_with(8, workers=16, resources={"workers": 16}, training={"globalBatchSize": 64})
    assert ended.status.attempts[0].micro_batch_size == 4


def test_a_worker_took_no_more_than_it_was_told_whatever_it_reports() -> None:
    told = job(started(attempt(microBatchSize=2)))
    ended = plan(told, ray_job(1, "Running"), report(finished=OUT_OF_MEMORY, resolved=took(8))).status
    assert ended.attempts[0].micro_batch_size == 2, "else it would be halved, for nothing, for ever"


def test_a_planner_that_says_less_is_obeyed() -> None:
    """The profile may have changed between two attempts."""
    small = profile(accelerator={"memory": "2Gi"})
    earlier = attempt(1, ended=0, reason=Reason.OUT_OF_MEMORY, exempt=True, microBatchSize=64)
    model = {"uri": "hf://sentence-transformers/all-MiniLM-L6-v2", "revision": "0" * 40}
    large = job(started(earlier), model=model, task__maxLength=256, training={"globalBatchSize": 128})
    begun = plan(large, small, now=3600).status
    assert begun.attempts[1].micro_batch_size == 32
    assert begun.resolved is not None
    assert begun.resolved.micro_batch_size == 16


def test_an_event_says_why_the_micro_batch_is_smaller() -> None:
    ran_out = attempt(1, ended=0, reason=Reason.OUT_OF_MEMORY, exempt=True, microBatchSize=8)
    first, second = events_of_the_next(ran_out)
    assert (first[0], second[0]) == ("AttemptStarted", "MicroBatchHalved")
    assert "Attempt 1 ran out of memory with micro-batches of 8: from attempt 2 on they have at most 4" in second[1]
    later = attempt(2, ended=0, reason=Reason.NODE_LOST, exempt=True, microBatchSize=4)
    assert [reason for reason, _ in events_of_the_next(ran_out, later)] == ["AttemptStarted"]


def events_of_the_next(*attempts: Object) -> list[tuple[str, str]]:
    """Reason and note of each event of the attempt that follows these."""
    status = started(*attempts, reason=Reason.STARTING)
    begun = plan(job(status), now=10_000).status
    return [(told.reason, told.note) for told in transitions_of(FineTuneJobStatus.model_validate(status), begun)]
