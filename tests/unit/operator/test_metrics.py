import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt, FineTuneJobStatus
from kubetune_operator.application import kinds_of
from kubetune_operator.jobs.metrics import JobMetrics, JobSample, waiting_since
from kubetune_operator.jobs.run_gauges import RunSample
from kubetune_operator.machinery.metrics import OTHER, Metrics
from support.observed_jobs import jobs_kind

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
KINDS = kinds_of([jobs_kind()])
ADDED_BY_THE_FORMAT = {"le"}
"""The bound of a histogram's bucket."""


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def at(minute: int) -> str:
    return f"2026-05-01T10:{minute:02}:00Z"


def status(*attempts: Attempt, started: str | None = at(0)) -> FineTuneJobStatus:
    return FineTuneJobStatus(start_time=started, attempts=list(attempts))


def attempt(
    number: int = 1,
    running: int | None = None,
    finished: int | None = None,
    reason: str | None = None,
    ran_seconds: int = 0,
) -> Attempt:
    return Attempt(
        number=number,
        ray_job=f"reviews-0a1b2-{number}",
        start_time=at(0),
        running_time=None if running is None else at(running),
        completion_time=None if finished is None else at(finished),
        reason=reason,
        ran_seconds=ran_seconds,
    )


def metrics_of_jobs() -> JobMetrics:
    return JobMetrics(CollectorRegistry())


def metrics_of_a_process() -> Metrics:
    return Metrics(CollectorRegistry(), KINDS)


def value(metrics: Metrics | JobMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"kubetune_{name}", labels)


def test_the_first_training_of_a_job_ends_its_time_in_the_queue() -> None:
    metrics = metrics_of_jobs()
    metrics.observe_transition("team-a", status(attempt()), status(attempt(running=7)))
    assert value(metrics, "job_queue_seconds_count", namespace="team-a") == 1
    assert value(metrics, "job_queue_seconds_sum", namespace="team-a") == 7 * 60


def test_a_later_attempt_that_trains_is_no_second_time_in_the_queue() -> None:
    metrics = metrics_of_jobs()
    first = attempt(running=7, finished=9, reason=Reason.PREEMPTED)
    metrics.observe_transition("team-a", status(first, attempt(2)), status(first, attempt(2, running=20)))
    assert value(metrics, "job_queue_seconds_count", namespace="team-a") == 0


def test_what_an_attempt_may_count_is_there_before_it_ends_for_prometheus_sees_no_increase_to_a_first_value() -> None:
    metrics = metrics_of_jobs()
    metrics.observe_transition("team-a", status(), status(attempt()))
    assert value(metrics, "attempts_total", namespace="team-a", reason="OutOfMemory") == 0
    assert value(metrics, "job_run_seconds_count", namespace="team-a") == 0
    assert value(metrics, "attempts_total", namespace="team-b", reason="OutOfMemory") is None


def test_an_attempt_that_ends_is_counted_by_its_reason_and_its_running_time() -> None:
    metrics = metrics_of_jobs()
    metrics.observe_transition(
        "team-a", status(attempt(running=7)), status(attempt(running=7, finished=10, reason=Reason.OUT_OF_MEMORY))
    )
    assert value(metrics, "attempts_total", namespace="team-a", reason="OutOfMemory") == 1
    assert value(metrics, "job_run_seconds_sum", namespace="team-a") == 3 * 60


def test_an_attempt_that_ends_before_it_trained_has_no_running_time() -> None:
    metrics = metrics_of_jobs()
    metrics.observe_transition(
        "team-a", status(attempt()), status(attempt(finished=4, reason=Reason.IMAGE_PULL_FAILED))
    )
    assert value(metrics, "attempts_total", namespace="team-a", reason="ImagePullFailed") == 1
    assert value(metrics, "job_run_seconds_count", namespace="team-a") is None


def test_an_end_that_was_seen_before_is_not_counted_again() -> None:
    metrics = metrics_of_jobs()
    ended = status(attempt(running=7, finished=10, reason=Reason.OUT_OF_MEMORY))
    metrics.observe_transition("team-a", ended, ended)
    assert value(metrics, "attempts_total", namespace="team-a", reason="OutOfMemory") is None


def test_an_attempt_that_trained_and_ended_between_two_looks_counts_whole() -> None:
    metrics = metrics_of_jobs()
    metrics.observe_transition(
        "team-a", status(started=None), status(attempt(running=1, finished=3, reason=Reason.PUBLISHED))
    )
    assert value(metrics, "job_queue_seconds_sum", namespace="team-a") == 60
    assert value(metrics, "job_run_seconds_sum", namespace="team-a") == 120
    assert value(metrics, "attempts_total", namespace="team-a", reason="ModelPublished") == 1


def test_time_before_a_queue_took_the_hardware_counts_as_running_time_and_not_as_a_new_start() -> None:
    metrics = metrics_of_jobs()
    taken, again = attempt(ran_seconds=90), attempt(ran_seconds=90, running=10)
    metrics.observe_transition("team-a", status(taken), status(again))
    metrics.observe_transition(
        "team-a",
        status(again),
        status(attempt(ran_seconds=90, running=10, finished=11, reason=Reason.PUBLISHED)),
    )
    assert value(metrics, "job_queue_seconds_count", namespace="team-a") == 0
    assert value(metrics, "job_run_seconds_sum", namespace="team-a") == 90 + 60


def test_an_attempt_that_ends_while_its_hardware_is_taken_has_run_until_then() -> None:
    metrics = metrics_of_jobs()
    metrics.observe_transition(
        "team-a",
        status(attempt(ran_seconds=90)),
        status(attempt(ran_seconds=90, finished=30, reason=Reason.DEADLINE_EXCEEDED)),
    )
    assert value(metrics, "job_run_seconds_sum", namespace="team-a") == 90


def test_a_job_waits_since_the_reason_is_this_one_and_one_that_nobody_looked_at_since_it_was_made() -> None:
    assert waiting_since(FineTuneJobStatus(reason_since_time=at(20)), ago(60)) == datetime.fromisoformat(at(20))
    assert waiting_since(FineTuneJobStatus(), ago(60)) == ago(60)


def test_clocks_that_disagree_give_no_negative_time() -> None:
    metrics = metrics_of_jobs()
    metrics.observe_transition(
        "team-a", status(attempt(running=7)), status(attempt(running=7, finished=5, reason=Reason.PUBLISHED))
    )
    assert value(metrics, "job_run_seconds_sum", namespace="team-a") == 0


@pytest.mark.parametrize("reason", ["a tenant's own word", "", None], ids=["invented", "empty", "none"])
def test_a_reason_that_the_api_does_not_know_is_other(reason: str | None) -> None:
    metrics = metrics_of_jobs()
    metrics.observe_transition("team-a", status(attempt()), status(attempt(finished=4, reason=reason)))
    metrics.collect_jobs(lambda: [JobSample("team-a", "Pending", reason or "", ago(1))], lambda: NOW)
    assert value(metrics, "attempts_total", namespace="team-a", reason=OTHER) == 1
    assert value(metrics, "job_waiting_seconds", namespace="team-a", reason=OTHER) == 60


def test_jobs_are_counted_by_namespace_and_phase_when_prometheus_asks() -> None:
    jobs = [
        JobSample("team-a", "Running", Reason.TRAINING, ago(50)),
        JobSample("team-a", "Running", Reason.TRAINING, ago(5)),
        JobSample("team-b", "Failed", Reason.OUT_OF_MEMORY, ago(3)),
    ]
    metrics = metrics_of_jobs()
    metrics.collect_jobs(lambda: jobs, lambda: NOW)
    assert value(metrics, "jobs", namespace="team-a", phase="Running") == 2
    assert value(metrics, "jobs", namespace="team-b", phase="Failed") == 1
    assert value(metrics, "jobs", namespace="team-b", phase="Running") is None


def test_a_deleted_job_leaves_no_series() -> None:
    jobs = [JobSample("team-a", "Pending", Reason.WAITING_FOR_QUOTA, ago(1))]
    metrics = metrics_of_jobs()
    metrics.collect_jobs(lambda: jobs, lambda: NOW)
    assert value(metrics, "jobs", namespace="team-a", phase="Pending") == 1
    jobs.clear()
    assert value(metrics, "jobs", namespace="team-a", phase="Pending") is None
    assert value(metrics, "job_waiting_seconds", namespace="team-a", reason="WaitingForQuota") is None


def test_the_longest_wait_counts_and_only_of_jobs_that_do_not_run_yet() -> None:
    jobs = [
        JobSample("team-a", "Pending", Reason.WAITING_FOR_QUOTA, ago(2)),
        JobSample("team-a", "Pending", Reason.WAITING_FOR_QUOTA, ago(30)),
        JobSample("team-a", "Admitted", Reason.WAITING_FOR_NODES, ago(4)),
        JobSample("team-a", "Running", Reason.TRAINING, ago(500)),
        JobSample("team-a", "Suspended", Reason.SUSPENDED, ago(500)),
    ]
    metrics = metrics_of_jobs()
    metrics.collect_jobs(lambda: jobs, lambda: NOW)
    waits = [family for family in metrics.registry.collect() if family.name == "kubetune_job_waiting_seconds"]
    assert {(sample.labels["reason"], sample.value) for sample in waits[0].samples} == {
        ("WaitingForQuota", 1800),
        ("WaitingForNodes", 240),
    }


def test_looks_at_jobs_are_timed_and_their_errors_counted() -> None:
    metrics = metrics_of_a_process()
    metrics.reconciled(0.25, error=False)
    metrics.reconciled(0.5, error=True)
    assert value(metrics, "reconcile_seconds_sum") == 0.75
    assert value(metrics, "reconcile_errors_total") == 1


@pytest.mark.parametrize(
    ("request_made", "labels"),
    [
        pytest.param(("create", "rayjobs", 201), ("create", "rayjobs", "201"), id="an answer"),
        pytest.param(("patch", "configmaps", 0), ("patch", "configmaps", "none"), id="no answer"),
        pytest.param(("brew", "teapots", 418), (OTHER, OTHER, "418"), id="what the operator does not know"),
    ],
)
def test_requests_are_counted_by_verb_resource_and_code(
    request_made: tuple[str, str, int], labels: tuple[str, str, str]
) -> None:
    metrics = metrics_of_a_process()
    metrics.api_request(*request_made)
    verb, resource, code = labels
    assert value(metrics, "api_requests_total", verb=verb, resource=resource, code=code) == 1


def test_every_kind_that_the_operator_handles_is_a_resource_of_its_own() -> None:
    metrics = metrics_of_a_process()
    for kind in KINDS:
        metrics.collect_synced(kind.plural, lambda: True)
        assert value(metrics, "informer_synced", resource=kind.plural) == 1


def test_gauges_follow_what_is_so() -> None:
    queue, watches = [1, 2, 3], {"pods"}
    metrics = metrics_of_a_process()
    metrics.collect_queue_length(lambda: len(queue))
    metrics.leading(True)
    metrics.collect_synced("pods", lambda: "pods" in watches)
    assert (value(metrics, "work_queue_length"), value(metrics, "leader")) == (3, 1)
    assert value(metrics, "informer_synced", resource="pods") == 1
    queue.clear()
    watches.clear()
    metrics.leading(False)
    assert (value(metrics, "work_queue_length"), value(metrics, "leader")) == (0, 0)
    assert value(metrics, "informer_synced", resource="pods") == 0


def test_two_sets_of_metrics_share_nothing() -> None:
    one, other = metrics_of_jobs(), metrics_of_jobs()
    one.planner_refused()
    assert value(one, "planner_refusals_total") == 1
    assert value(other, "planner_refusals_total") == 0


def with_every_series() -> CollectorRegistry:
    process = metrics_of_a_process()
    process.api_request("get", "pods", 200)
    process.collect_synced("pods", lambda: True)
    jobs = JobMetrics(process.registry)
    run = RunSample("reviews", age=1, stall=1, upload=1, failures=0, goodput=1)
    jobs.collect_jobs(lambda: [JobSample("team-a", "Pending", Reason.WAITING_FOR_QUOTA, ago(1), run)], lambda: NOW)
    ended = status(attempt(running=1, finished=2, reason=Reason.PUBLISHED))
    jobs.observe_transition("team-a", status(), status(attempt()))
    jobs.observe_transition("team-a", status(attempt()), ended)
    return process.registry


def described_by_the_code() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each metric, by the name under which it is queried."""
    families = [family for family in with_every_series().collect() if family.name.startswith("kubetune_")]
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - ADDED_BY_THE_FORMAT,
        )
        for family in families
    }


def described_by_the_page() -> dict[str, tuple[str, frozenset[str]]]:
    rows = re.findall(r"^\| `(kubetune_\w+)` \| (\w+)[^|]*\| [^|]+ \|([^|]*)\|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: (type_, frozenset(re.findall(r"`(\w+)`", labels))) for name, type_, labels in rows}


def test_the_page_names_every_metric_with_its_type_and_labels_and_no_other() -> None:
    assert described_by_the_page() == described_by_the_code()


def test_each_metric_of_the_page_has_an_example_that_queries_it() -> None:
    rows = re.findall(r"^\| `(kubetune_\w+)` \|.*\| `([^`]+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {name for name, _ in rows} == set(described_by_the_code())
    for name, query in rows:
        assert re.search(rf"\b{name}(_bucket|_sum|_count)?\b", query), f"{query} does not ask for {name}"


def test_a_deleted_namespace_leaves_no_series() -> None:
    """O14"""
    metrics, there = metrics_of_jobs(), {"team-a", "team-b"}
    metrics.collect_jobs(list, lambda: NOW, there.__contains__)
    ended = status(attempt(running=1, finished=3, reason=Reason.PUBLISHED))
    for namespace in sorted(there):
        metrics.observe_transition(namespace, status(attempt()), ended)
    there.discard("team-a")
    list(metrics.registry.collect())
    left = {sample.labels.get("namespace") for family in metrics.registry.collect() for sample in family.samples}
    assert left - {None} == {"team-b"}


def test_a_change_of_a_job_without_an_attempt_begins_no_series_that_would_outlive_its_namespace() -> None:
    metrics = metrics_of_jobs()
    metrics.collect_jobs(list, lambda: NOW, lambda _: False)
    metrics.observe_transition("team-a", status(), status())
    for _ in range(2):
        labels = [sample.labels for family in metrics.registry.collect() for sample in family.samples]
        assert not [each for each in labels if each.get("namespace")]


def test_no_series_begins_for_a_reason_that_no_attempt_can_end_for() -> None:
    """O14"""
    metrics = metrics_of_jobs()
    metrics.observe_transition("team-a", status(), status(attempt()))
    reasons = {
        sample.labels["reason"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "kubetune_attempts_total"
    }
    assert {"ModelPublished", "OutOfMemory", "DeadlineExceeded", "Suspended", "ReportLost"} <= reasons
    assert not reasons & {"ProfileForbids", "WaitingForQuota", "Starting", "Training", "KubeRayMissing", "Accepted"}
