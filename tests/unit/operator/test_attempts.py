from typing import Any

import pytest

from kubetune_api.reasons import REASONS, Reason
from kubetune_api.status import MOST_ATTEMPTS, Attempt, FineTuneJobStatus
from kubetune_operator.jobs import names
from kubetune_operator.jobs.history import earlier_reasons, exempt_in_a_row, with_attempt
from kubetune_operator.jobs.running_times import running_seconds
from support.observed_jobs import (
    UID,
    after,
    at,
    attempt,
    failed,
    job,
    name_of,
    plan,
    pod,
    profile,
    ray_cluster,
    ray_job,
    read,
    report,
    started,
)
from support.simulated_cluster import (
    SimulatedCluster,
    node_is_lost,
    pods_end,
    pods_run,
    queue_admits,
    queue_takes_back,
    ray_job_ends,
    seconds,
    spec,
    trainer_says,
)

ENDED = attempt(1, ended=0)
EXEMPT: dict[str, Any] = {"reason": Reason.PREEMPTED, "exempt": True}
SILENT = (pods_run, ray_job_ends("Failed", "FAILED"), seconds(10), pods_end)
"""An attempt that ends without a word."""


@pytest.mark.parametrize(
    "left",
    [
        pytest.param([ray_job(1, "Failed")], id="its RayJob"),
        pytest.param([ray_job(1, "Failed", deleting=True)], id="its RayJob, which is being deleted"),
        pytest.param([ray_cluster(1)], id="its RayCluster"),
        pytest.param([pod("submitter", 1, deleting=True)], id="a pod of it that ends"),
        pytest.param([pod("worker", 1, phase="Succeeded")], id="a pod of it that has ended"),
        pytest.param([pod("worker", 7)], id="a pod of any other attempt"),
    ],
)
def test_no_attempt_begins_while_anything_of_an_earlier_one_is_left(left: list[Any]) -> None:
    waits = plan(job(started(ENDED)), *left, now=10_000)
    assert waits.create is None
    assert (waits.status.reason, len(waits.status.attempts)) == (Reason.CLEANING_UP, 1)
    assert left[0]["metadata"]["name"] in (waits.status.message or "")
    assert waits.again_after is not None
    assert plan(job(started(ENDED)), now=10_000).status.attempts[-1].number == 2


def test_the_next_attempt_has_the_next_number_and_nothing_of_the_last_ones_results() -> None:
    status = started(
        ENDED, progress={"step": 1, "totalSteps": 2, "epoch": 1.0}, metrics=[{"name": "x", "value": 1.0}], data=read(10)
    )
    begun = plan(job(status), now=10)
    assert [guard.selector for guard in begun.guards] == [f"{names.JOB_UID}={UID}"]
    assert begun.create is not None
    assert begun.create["metadata"]["name"] == name_of(2)
    assert (begun.status.progress, begun.status.metrics, begun.status.artifact) == (None, [], None)
    assert begun.status.data is None
    assert begun.status.attempts[0] == Attempt.model_validate(ENDED)
    assert begun.status.start_time == at(0)


@pytest.mark.parametrize(
    ("attempts", "wait"),
    [
        pytest.param([ENDED], 10, id="the first failure waits once"),
        pytest.param([ENDED, attempt(2, ended=0)], 20, id="the second twice"),
        pytest.param([attempt(number, ended=0) for number in range(1, 4)], 40, id="the third four times"),
        pytest.param([attempt(number, ended=0) for number in range(1, 11)], 3600, id="none longer than an hour"),
        pytest.param([attempt(1, ended=0, **EXEMPT)], 10, id="an exempt one once"),
        pytest.param([ENDED, attempt(2, ended=0, **EXEMPT)], 10, id="an exempt one after a failure once"),
        pytest.param([attempt(1, ended=0, **EXEMPT), attempt(2, ended=0)], 10, id="an exempt one doubles nothing"),
        pytest.param([attempt(1, ended=0, reason="Suspended", exempt=True)], 0, id="a suspended one never"),
    ],
)
def test_the_wait_before_the_next_attempt(attempts: list[Any], wait: int) -> None:
    retried = job(started(*attempts), retry={"maxAttempts": 20, "backoffSeconds": 10})
    assert plan(retried, now=wait).create is not None
    if wait:
        early = plan(retried, now=wait - 1)
        assert (early.create, early.again_after) == (None, 1)
        assert f"not before {at(wait)}" in (early.status.message or "")


def test_the_sentence_about_the_next_attempt_says_the_same_at_once_and_later() -> None:
    status = started(ENDED, attempt(2))
    ended = plan(job(status), ray_job(2), report(2, finished=failed(Reason.STORAGE_FAILED)), now=50)
    later = plan(job(ended.status.to_dict()), now=51)
    assert ended.status.message == later.status.message
    assert f"not before {at(70)}" in (ended.status.message or "")
    assert "failed attempt 2 of 3" in (ended.status.message or "")


@pytest.mark.parametrize(
    "reason", [reason for reason, row in REASONS.items() if row.retry == "Counted" and reason != "AttemptDeleted"]
)
def test_an_error_that_may_pass_is_retried_as_often_as_the_job_says(reason: str) -> None:
    for earlier, phase in ((0, "Pending"), (1, "Pending"), (2, "Failed")):
        attempts = [attempt(number, ended=0) for number in range(1, earlier + 1)]
        status = started(*attempts, attempt(earlier + 1, reason=reason, message="It ended."))
        ended = plan(job(status), ray_job(earlier + 1, "Failed", ended=0), now=100)
        assert (ended.status.phase, ended.status.attempts[-1].reason) == (phase, reason)
        assert not ended.status.attempts[-1].exempt
    assert (ended.status.message or "").endswith(" (after 3 failed attempts)")


def test_an_attempt_that_lost_its_hardware_costs_none_of_the_attempts() -> None:
    status = started(attempt(1, reason=Reason.NODE_LOST, message="The node went."))
    ended = plan(job(status, retry={"maxAttempts": 1}), ray_job(1, "Failed", ended=0), now=100)
    assert (ended.status.reason, ended.status.attempts[0].exempt) == (Reason.WAITING_TO_RETRY, True)
    assert "does not count" in (ended.status.message or "")


@pytest.mark.parametrize(
    "reason",
    [
        Reason.REQUIREMENT_MISSED,
        Reason.INVALID_MANIFEST,
        Reason.INVALID_MODEL,
        Reason.INVALID_DATA,
        Reason.CREDENTIALS_REFUSED,
        Reason.NOT_FINITE,
        Reason.VERIFICATION_FAILED,
        Reason.OUT_OF_MEMORY,
    ],
)
def test_an_error_that_would_come_again_is_never_retried(reason: str) -> None:
    status = started(attempt(1))
    ended = plan(job(status, retry={"maxAttempts": 20}), ray_job(1, "Running"), report(finished=failed(reason, "So.")))
    assert (ended.status.phase, ended.status.reason, ended.status.message) == ("Failed", reason, "So.")


def test_suspending_ends_the_attempt_for_free_and_resuming_begins_the_next_without_a_wait() -> None:
    cluster = SimulatedCluster(retry={"maxAttempts": 1}).after(pods_run, spec(suspend=True))
    assert (cluster.phase, cluster.of("RayJob")) == ("Suspended", [])
    assert "2 of its pods are still ending" in cluster.status["message"]
    cluster.after(spec(suspend=False))
    assert cluster.status["reason"] == Reason.CLEANING_UP, "the pods of the first attempt are still there"
    cluster.after(pods_end)
    assert cluster.created == [name_of(1), name_of(2)]
    first = cluster.status["attempts"][0]
    assert (first["reason"], first["exempt"]) == ("Suspended", True)


def test_a_suspended_job_without_pods_says_how_it_goes_on() -> None:
    cluster = SimulatedCluster().after(pods_run, spec(suspend=True), pods_end)
    assert cluster.status["message"] == "suspended; set spec.suspend: false to resume"
    assert cluster.again_after is None


def test_a_job_that_is_suspended_before_its_ray_job_is_there_makes_none() -> None:
    ended = plan(job(started(attempt(seen=False)), suspend=True))
    assert (ended.create, ended.status.phase) == (None, "Suspended")
    assert (ended.status.attempts[0].reason, ended.status.attempts[0].exempt) == (Reason.SUSPENDED, True)


def test_a_run_that_ended_right_before_the_suspension_has_ended() -> None:
    ended = plan(
        job(started(attempt()), suspend=True), ray_job(1, "Running"), report(finished=failed(Reason.INVALID_DATA))
    )
    assert ended.status.reason == Reason.INVALID_DATA


def test_suspending_while_it_waits_to_retry_does_not_shorten_the_wait() -> None:
    cluster = SimulatedCluster().after(*SILENT, spec(suspend=True), spec(suspend=False))
    assert (cluster.status["reason"], len(cluster.created)) == (Reason.WAITING_TO_RETRY, 1)
    cluster.after(seconds(10))
    assert len(cluster.created) == 2


def test_the_running_time_counts_over_all_attempts_against_the_deadline() -> None:
    cluster = SimulatedCluster(activeDeadlineSeconds=100, retry={"maxAttempts": 9, "backoffSeconds": 0})
    cluster.after(
        pods_run, seconds(50), ray_job_ends("Failed", "FAILED"), seconds(10), pods_end, seconds(1000), pods_run
    )
    assert cluster.again_after == 40, "100 less the 60 of the first attempt"
    cluster.after(seconds(39))
    assert cluster.phase == "Running"
    cluster.after(seconds(1))
    assert (cluster.phase, cluster.status["reason"]) == ("Failed", Reason.DEADLINE_EXCEEDED)
    assert cluster.of("RayJob") == []


def test_the_time_in_a_queue_does_not_count_against_the_deadline() -> None:
    cluster = SimulatedCluster(activeDeadlineSeconds=100, queueName="team-a").after(
        seconds(1000), queue_admits, seconds(1000), pods_run
    )
    assert cluster.phase == "Running"
    cluster.after(seconds(60), queue_takes_back, seconds(1000))
    assert cluster.status["attempts"][0]["ranSeconds"] == 60
    assert (cluster.phase, cluster.again_after) == ("Pending", None)
    cluster.after(queue_admits, pods_run, seconds(39))
    assert cluster.phase == "Running"
    cluster.after(seconds(1))
    assert cluster.status["reason"] == Reason.DEADLINE_EXCEEDED


def test_the_deadline_is_that_of_the_attempts_start_whatever_becomes_of_the_profile() -> None:
    status = started(attempt(runningTime=at(0), deadlineSeconds=100))
    running = job(status, activeDeadlineSeconds=100, profileRef__name="gone")
    assert plan(running, ray_job(1, "Running"), now=40).again_after == 60
    assert plan(running, ray_job(1, "Running"), now=100).status.reason == Reason.DEADLINE_EXCEEDED
    stricter = profile(limits={"maxActiveDeadlineSeconds": 10})
    assert plan(job(status), stricter, ray_job(1, "Running"), now=40).status.reason != Reason.DEADLINE_EXCEEDED


def test_of_more_attempts_than_a_status_takes_the_oldest_exempt_one_goes_and_nothing_is_forgotten() -> None:
    cluster = SimulatedCluster(retry={"maxAttempts": 3, "backoffSeconds": 0}, activeDeadlineSeconds=10_000)
    cluster.after(*SILENT, pods_run, seconds(7), node_is_lost, ray_job_ends("Failed", "FAILED"), seconds(10), pods_end)
    for _ in range(MOST_ATTEMPTS):
        cluster.after(pods_run, node_is_lost, ray_job_ends("Failed", "FAILED"), seconds(10), pods_end)
    attempts = [Attempt.model_validate(one) for one in cluster.status["attempts"]]
    assert len(attempts) == MOST_ATTEMPTS
    assert [one.number for one in attempts] == [1, *range(MOST_ATTEMPTS + 3 - (MOST_ATTEMPTS - 2), MOST_ATTEMPTS + 4)]
    status = FineTuneJobStatus.model_validate(cluster.status)
    assert running_seconds(status, attempts[-1], after(cluster.now)) == 10 + 17 + 10 * MOST_ATTEMPTS
    assert attempts[-1].ran_seconds == 0, "an attempt has no time of others"
    cluster.after(*SILENT)
    assert cluster.phase != "Failed", "it was the second of three"
    cluster.after(*SILENT)
    assert (cluster.phase, cluster.created[-1]) == ("Failed", name_of(len(cluster.created)))


def test_more_failures_than_a_status_lists_still_count() -> None:
    cluster = SimulatedCluster(retry={"maxAttempts": 14, "backoffSeconds": 0})
    for number in range(1, 15):
        assert cluster.phase != "Failed"
        cluster.after(*SILENT)
        assert len(cluster.status["attempts"]) == min(number + (cluster.phase != "Failed"), MOST_ATTEMPTS)
    assert cluster.phase == "Failed"
    assert cluster.status["message"].endswith(" (after 14 failed attempts)")
    dropped = cluster.status["droppedAttempts"]
    assert dropped == {"failed": 4, "reasons": ["Unknown"], "lastFailed": 4, "ranSeconds": dropped["ranSeconds"]}
    assert [one["number"] for one in cluster.status["attempts"]] == [*range(5, 15)]


def test_the_wait_of_exempt_attempts_goes_on_doubling_however_many_failures_are_listed() -> None:
    failures = [attempt(number, ended=0, reason=Reason.UNKNOWN) for number in range(1, MOST_ATTEMPTS)]
    status = FineTuneJobStatus.model_validate(started(*failures))
    for times in range(1, 6):
        number = MOST_ATTEMPTS - 1 + times
        lost = Attempt.model_validate(attempt(number, ended=0, **EXEMPT))
        status = with_attempt(status, lost, after(0))
        assert exempt_in_a_row(status) == times
    failed_again = Attempt.model_validate(attempt(number + 1, ended=0, reason=Reason.UNKNOWN))
    assert exempt_in_a_row(with_attempt(status, failed_again, after(0))) == 0


def test_a_label_of_a_running_job_frees_it_neither_of_its_deadline_nor_of_suspension() -> None:
    labelled: dict[str, Any] = {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "fast"}}}
    running = started(attempt(1, runningTime=at(0), deadlineSeconds=60))
    over = plan(job(running, activeDeadlineSeconds=60, **labelled), ray_job(), pod(), now=70)
    assert over.status.reason == Reason.DEADLINE_EXCEEDED
    suspended = plan(job(running, suspend=True, **labelled), ray_job(), pod(), now=10)
    assert suspended.status.phase == "Suspended"
    assert suspended.delete
    new = plan(job(**labelled), now=0)
    assert (new.status.reason, new.create) == (Reason.INVALID_MANIFEST, None)
    assert "set spec.queueName" in (new.status.message or "")


def test_a_lost_report_that_is_no_longer_listed_is_exempt_no_second_time() -> None:
    lost = [attempt(1, ended=0, reason=Reason.REPORT_LOST, exempt=True)]
    gone = [attempt(number, ended=0, **EXEMPT) for number in range(2, MOST_ATTEMPTS + 1)]
    begun = plan(job(started(*lost, *gone)), now=10_000).status
    assert [one.number for one in begun.attempts] == [*range(2, MOST_ATTEMPTS + 2)]
    assert begun.dropped_attempts is not None
    assert begun.dropped_attempts.reasons == [Reason.REPORT_LOST]
    assert earlier_reasons(begun)[0] == Reason.REPORT_LOST


def test_an_attempt_counts_as_running_from_the_first_time_that_it_was_seen_to_run() -> None:
    cluster = SimulatedCluster().after(seconds(10), pods_run, seconds(10), trainer_says(doing="reads the data"))
    assert cluster.status["attempts"][0]["runningTime"] == at(10)
    assert cluster.status["message"] == "reads the data"
