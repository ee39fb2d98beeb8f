"""What lies below a RayJob is told in its own words: refused pods, Kueue's Workload, a RayJob out of sight."""

from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_operator.jobs.below import event_view, workload_view
from kubetune_operator.jobs.reconcile import reconcile
from kubetune_operator.machinery.questions import NO_ANSWER
from support.observed_jobs import (
    JOB,
    NAMESPACE,
    SETTINGS,
    UID,
    Object,
    after,
    at,
    attempt,
    cache_of,
    condition,
    event,
    job,
    job_key,
    name_of,
    observed,
    plan,
    pod,
    profile,
    ray_cluster,
    ray_job,
    started,
    workload,
)

QUOTA = 'pods "reviews-head" is forbidden: exceeded quota: small, requested: limits.cpu=1, used: limits.cpu=0'
CLUSTER = f"{name_of(1)}-1"
TAKEN_UP = ray_job(1, "Initializing", rayClusterName=CLUSTER)
REFUSED = ray_cluster(1, 1, condition("ReplicaFailure", "True", "FailedCreateHeadPod", f"FailedCreateHeadPod\n{QUOTA}"))
HEAD, WORKER = pod("head", phase="Running", ready=True), pod(phase="Running", ready=True)
UNSUBMITTED = ray_job(1, "Running", jobStatus="", rayClusterName=CLUSTER)


def waited(reason: str = "WaitingForPods", seconds: float = -60, **more: Any) -> Object:
    """The status of a job that has waited for this for so long."""
    return started(attempt(), reason=reason, reasonSinceTime=at(seconds), **more)


def test_why_kuberay_makes_no_pods_is_told_at_once_and_in_the_api_servers_words() -> None:
    """O3"""
    told = plan(job(started(attempt())), TAKEN_UP, REFUSED)
    assert (told.status.phase, told.status.reason, told.questions) == ("Admitted", Reason.CREATION_REFUSED, ())
    message = told.status.message or ""
    assert message.startswith(
        f"no pod can be made for the head and 1 of 1 workers: {QUOTA}; the platform team must mend"
    )
    assert all(word in message for word in ("quota", "LimitRange", "policy", "webhook", "ServiceAccount"))
    assert plan(job(told.status.to_dict()), TAKEN_UP, ray_cluster(), HEAD).status.reason == Reason.WAITING_FOR_PODS


def test_a_refusal_that_is_overcome_is_not_told() -> None:
    """O3: KubeRay leaves the condition until all else is done."""
    assert plan(job(started(attempt())), TAKEN_UP, REFUSED, HEAD, WORKER).status.reason == Reason.STARTING


@pytest.mark.parametrize(
    ("shown", "told", "missing"),
    [
        pytest.param(
            [TAKEN_UP], event("Failed to create RayCluster: denied"), "the head and 1 of 1 workers", id="a cluster"
        ),
        pytest.param(
            [TAKEN_UP, ray_cluster()],
            event("Failed creating service: exceeded quota", about=CLUSTER, of="RayCluster"),
            "the head and 1 of 1 workers",
            id="what a cluster needs",
        ),
        pytest.param(
            [TAKEN_UP, ray_cluster(), HEAD],
            event("Failed to create worker Pod: denied", about=CLUSTER, of="RayCluster"),
            "1 of 1 workers",
            id="a worker",
        ),
        pytest.param(
            [UNSUBMITTED, ray_cluster(), HEAD, WORKER],
            event("Error creating: pods is forbidden: exceeded quota", of="Job"),
            "the submitter",
            id="O1: the submitter's pod",
        ),
    ],
)
def test_what_only_events_tell_is_asked_for_after_some_seconds(shown: list[Object], told: Object, missing: str) -> None:
    """O1, O3"""
    early = plan(job(waited(seconds=-2)), *shown, unwatched=(told,))
    assert (early.status.reason, early.questions, early.again_after) == (Reason.WAITING_FOR_PODS, (), 1)
    late = plan(job(waited(seconds=-3)), *shown, unwatched=(told,))
    assert (late.status.reason, late.again_after) == (Reason.CREATION_REFUSED, 30)
    assert f"no pod can be made for {missing}: {told['note']};" in (late.status.message or "")
    again = plan(job(late.status.to_dict()), *shown, unwatched=(told,))
    assert again.status.message == late.status.message, "it does not change from one look to the next"


def test_who_has_waited_long_asks_seldom() -> None:
    """Thousands of jobs may wait for the same thing."""
    assert [plan(job(waited(seconds=-age)), TAKEN_UP).again_after for age in (3, 100, 5000)] == [30, 100, 600]


def test_of_several_events_the_last_counts_and_none_of_other_kinds() -> None:
    told = (event("old", last=1), event("new", last=3), event("older", last=2), event("a pod's", of="Pod", last=9))
    assert ": new;" in (plan(job(waited()), TAKEN_UP, unwatched=told).status.message or "")


def test_without_a_word_of_anybody_the_job_says_what_it_waits_for() -> None:
    """O3: also where the operator may not read events."""
    silent = plan(job(waited()), TAKEN_UP)
    assert silent.status.message == "waits for KubeRay to create the pods"
    assert silent.questions


def test_an_event_is_as_old_as_its_last_time() -> None:
    plain, found = event("said", last=5), {"regarding": {"kind": "Job"}, "metadata": {"creationTimestamp": at(1)}}
    assert event_view(plain).at == after(5)
    assert event_view(found | {"eventTime": at(2)}).at == after(2)
    assert event_view(found | {"eventTime": at(2), "series": {"lastObservedTime": at(7)}}).at == after(7)
    assert event_view(found).at == after(1)


@pytest.mark.parametrize(
    ("kueue", "words"),
    [
        pytest.param(
            (workload("LocalQueue gpus doesn't exist"),),
            "waits in queue gpus for quota; Kueue says: LocalQueue gpus doesn't exist;"
            f" `kubectl get localqueues -n {NAMESPACE}` shows the queues that are there",
            id="O11: a queue that does not exist",
        ),
        pytest.param(
            (workload("insufficient unused quota for nvidia.com/gpu", version="v1beta1"),),
            "waits in queue gpus for quota; Kueue says: insufficient unused quota for nvidia.com/gpu",
            id="O3: an older Kueue",
        ),
        pytest.param(
            (workload(""),),
            "waits in queue gpus for quota; `kubectl describe workloads` says how much is free",
            id="a Kueue without a word",
        ),
        pytest.param((), "waits in queue gpus for quota, but the cluster has no Kueue", id="O11: no Kueue"),
        pytest.param(
            (workload() | {"metadata": {"name": "another's", "labels": {}}},),
            "but Kueue has made no Workload for it; the platform team must turn on Kueue's integration",
            id="O11: a Kueue that does not look after RayJobs",
        ),
    ],
)
def test_why_a_queue_does_not_admit_a_job_is_told(kueue: tuple[Object, ...], words: str) -> None:
    suspended = ray_job(suspended=True)
    early = plan(job(waited("WaitingForQuota", -2), queueName="gpus"), suspended, unwatched=kueue)
    assert (early.questions, early.again_after) == ((), 1)
    told = plan(job(waited("WaitingForQuota"), queueName="gpus"), suspended, unwatched=kueue)
    assert (told.status.phase, told.status.reason, told.again_after) == ("Pending", Reason.WAITING_FOR_QUOTA, None)
    assert words in (told.status.message or "")


def test_an_api_server_that_fails_says_nothing_of_kueue() -> None:
    """O11: neither that the cluster has none, nor that it made no Workload."""
    cache = cache_of(profile(), job(waited("WaitingForQuota"), queueName="gpus"), ray_job(suspended=True))
    for question in reconcile(observed(cache), SETTINGS, after(0)).questions:
        cache.answers.put(job_key(), question, NO_ANSWER)
    message = reconcile(observed(cache), SETTINGS, after(0)).status.message or ""
    assert message == "waits in queue gpus for quota; `kubectl describe workloads` says how much is free"


def test_a_workload_that_is_admitted_says_nothing() -> None:
    admitted = {"status": {"conditions": [condition("QuotaReserved", "True", message="reserved")]}}
    assert (workload_view(admitted), workload_view({})) == ("", "")


@pytest.mark.parametrize(
    "labels", [{}, {"kubetune.dev/job-uid": "another"}], ids=["none of the labels", "another job's label"]
)
def test_a_ray_job_whose_labels_somebody_changed_is_not_taken_for_deleted(labels: dict[str, str]) -> None:
    """O9"""
    changed = ray_job(1, "Running")
    changed["metadata"]["labels"] = labels
    seen = plan(job(started(attempt(runningTime=at(0)))), HEAD, WORKER, unwatched=(changed,))
    assert (seen.status.phase, seen.status.attempts[0].completion_time, seen.again_after) == ("Running", None, 10)
    assert seen.questions, "it is asked for again"
    assert f"somebody changed the labels of the RayJob {name_of(1)}" in (seen.status.message or "")
    assert f"kubetune.dev/job={JOB} kubetune.dev/job-uid={UID}" in (seen.status.message or "")
    suspended = plan(job(started(attempt(runningTime=at(0))), suspend=True), HEAD, unwatched=(changed,))
    assert [ref.uid for ref in suspended.delete] == [f"uid-of-{name_of(1)}"]


def test_another_ray_job_of_the_same_name_is_not_the_attempts() -> None:
    """O9"""
    another = ray_job(1, "Running", uid="another")
    another["metadata"]["labels"] = {}
    ended = plan(job(started(attempt(runningTime=at(0)))), HEAD, unwatched=(another,)).status.attempts[0]
    assert ended.reason == Reason.ATTEMPT_DELETED


def test_a_head_whose_labels_somebody_changed_is_not_taken_for_deleted() -> None:
    """O9"""
    cluster = ray_cluster()
    cluster["status"]["head"] = {"podName": HEAD["metadata"]["name"]}
    changed = {**HEAD, "metadata": {**HEAD["metadata"], "labels": {}}}
    status = started(attempt(runningTime=at(0), headGoneTime=at(-100)))
    shown = [ray_job(1, "Running", rayClusterName=CLUSTER), cluster, WORKER]
    goes_on = plan(job(status), *shown, unwatched=(changed,))
    assert (goes_on.status.attempts[0].head_gone_time, goes_on.status.phase, goes_on.again_after) == (
        None,
        "Running",
        10,
    )
    ended = plan(job(status), *shown).status.attempts[0]
    assert ended.reason == Reason.INTERRUPTED
