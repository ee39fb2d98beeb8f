from itertools import pairwise
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_operator.jobs.failures import Failure, policy, stronger
from kubetune_operator.jobs.reconcile import reconcile
from support.observed_jobs import (
    JOB,
    ROOT,
    SETTINGS,
    Object,
    after,
    at,
    attempt,
    condition,
    failed,
    job,
    name_of,
    plan,
    pod,
    profile,
    ray_cluster,
    ray_job,
    report,
    see,
    started,
    succeeded,
    terminated,
)
from support.simulated_cluster import SimulatedCluster, node_is_lost, pods_run, somebody_deletes_the_ray_job

WORKER, HEAD = f"{name_of(1)}-worker-0", f"{name_of(1)}-head-0"
OUT_OF_MEMORY = terminated(137, "OOMKilled")


def taken(reason: str, message: str = "so it is") -> dict[str, Any]:
    """The condition of a pod that the cluster takes away."""
    return {"conditions": (condition("DisruptionTarget", reason=reason, message=message),)}


def provisional(*pods: Object) -> tuple[str | None, str | None]:
    """Reason and message of an attempt that goes on, by its pods."""
    head = pod("head", number=9, phase="Running")
    found = plan(job(started(attempt())), ray_job(1, "Running"), head, *pods).status.attempts[0]
    assert found.completion_time is None
    return found.reason, found.message


def verdict(*pods: Object, now: float = 100, **ray_job_status: Any) -> tuple[str | None, str | None]:
    """Reason and message of an attempt whose RayJob failed without a word of the trainer."""
    ended = plan(job(started(attempt())), ray_job(1, "Failed", ended=0, **ray_job_status), *pods, now=now)
    return ended.status.attempts[0].reason, ended.status.attempts[0].message


@pytest.mark.parametrize(
    ("shown", "reason", "words"),
    [
        pytest.param(pod(container=OUT_OF_MEMORY), "OutOfMemory", ["microBatchSize", WORKER], id="a worker's memory"),
        pytest.param(pod("head", container=OUT_OF_MEMORY), "OutOfMemory", ["spec.head.memory", HEAD], id="the head's"),
        pytest.param(
            pod(container={"state": {"running": {}}, "lastState": OUT_OF_MEMORY["state"]}),
            "OutOfMemory",
            [WORKER],
            id="the memory of a container that runs again",
        ),
        pytest.param(pod(**taken("PreemptionByScheduler")), "Preempted", ["preempted", "so it is"], id="preempted"),
        pytest.param(pod(**taken("EvictionByEvictionAPI")), "Preempted", ["preempted"], id="a node that is drained"),
        pytest.param(pod(**taken("DeletionByTaintManager")), "NodeLost", ["the node of"], id="a node that is tainted"),
        pytest.param(pod(**taken("DeletionByPodGC")), "NodeLost", ["the node of"], id="a node that is gone"),
        pytest.param(
            pod(**taken("TerminationByKubelet"), phase="Failed", reason="Evicted", message="low on memory"),
            "Evicted",
            ["evicted by its node"],
            id="a node that ran out of memory",
        ),
        pytest.param(
            pod(**taken("TerminationByKubelet"), phase="Failed", reason="Terminated", message="imminent node shutdown"),
            "NodeLost",
            ["the node of"],
            id="a node that shuts down, as spot nodes do",
        ),
        pytest.param(
            pod(**taken("TerminationByKubelet"), phase="Failed", reason="Preempting"),
            "Preempted",
            ["preempted"],
            id="a pod that the node itself needs goes first",
        ),
        pytest.param(pod(phase="Failed", reason="NodeLost"), "NodeLost", ["does not say why"], id="an older cluster"),
        pytest.param(pod(phase="Failed", reason="NodeShutdown"), "NodeLost", ["the node of"], id="a shutdown"),
        pytest.param(pod(**taken("DeletionByCustomController")), None, [], id="a disruption that nobody knows"),
        pytest.param(
            pod(conditions=(condition("DisruptionTarget", "False", "PreemptionByScheduler"),)),
            None,
            [],
            id="a disruption that is none",
        ),
        pytest.param(pod(container=terminated(1)), None, [], id="an exit code, of which the trainer knows more"),
        pytest.param(pod(container=terminated(137)), None, [], id="a kill that says nothing of memory"),
    ],
)
def test_what_a_pod_shows_is_kept_as_the_provisional_reason(
    shown: Object, reason: str | None, words: list[str]
) -> None:
    found, message = provisional(shown)
    assert found == reason
    assert all(word in (message or "") for word in words)
    assert verdict(shown)[0] == (reason or Reason.UNKNOWN)


def test_evidence_outlives_the_pods() -> None:
    status = started(attempt())
    shown = pod(container=terminated(137, "OOMKilled", "killed"), **taken("TerminationByKubelet"), reason="Evicted")
    seen = plan(job(status), ray_job(1, "Running"), shown).status
    gone = plan(job(seen.to_dict()), ray_job(1, "Failed", ended=0), now=100).status
    assert (gone.phase, gone.reason) == ("Failed", "OutOfMemory")
    assert gone.attempts[0].evidence == [
        f"pod {WORKER}: container worker ended with 137 (OOMKilled): killed",
        f"pod {WORKER}: TerminationByKubelet: so it is",
        f"pod {WORKER}: Evicted: ",
    ]


def test_evidence_is_bounded_and_the_first_of_it_stays() -> None:
    status = started(attempt(evidence=["seen first"]))
    pods = [pod(number=number, container=terminated(1, message="x" * 4000)) for number in range(20)]
    evidence = plan(job(status), ray_job(1, "Running"), *pods).status.attempts[0].evidence
    assert (len(evidence), evidence[0]) == (4, "seen first")
    assert max(map(len, evidence)) == 256
    assert plan(job(started(attempt(evidence=evidence))), ray_job(1, "Running"), *pods).status.attempts[0].evidence == (
        evidence
    )


def test_the_line_that_says_most_is_kept_though_it_is_the_ninth() -> None:
    """N2"""
    plain = [pod(number=number, container=terminated(1, message="a rank lost its peers")) for number in range(8)]
    killed = pod(number=8, container=OUT_OF_MEMORY)
    seen = plan(job(started(attempt())), ray_job(1, "Running"), *plain).status
    evidence = plan(job(seen.to_dict()), ray_job(1, "Running"), *plain, killed).status.attempts[0].evidence
    assert evidence[:3] == seen.attempts[0].evidence[:3]
    assert "ended with 137 (OOMKilled)" in evidence[3]


def test_what_another_s_container_did_is_evidence_of_no_reason() -> None:
    """O2"""
    killed = pod(sidecar=OUT_OF_MEMORY, container={"state": {"running": {}}})
    seen = plan(job(started(attempt())), ray_job(1, "Running"), pod("head"), killed).status.attempts[0]
    assert (seen.reason, seen.evidence) == (
        None,
        [f"pod {WORKER}: container istio-proxy (not kubetune's) ended with 137 (OOMKilled)"],
    )


def test_a_pod_that_was_replaced_before_the_driver_ran_is_no_reason_for_a_later_end() -> None:
    """O2: what a preempted run costs must not hang on a worker that was replaced long before."""
    killed = pod(number=0, container=OUT_OF_MEMORY, phase="Failed")
    seen = plan(job(started(attempt())), ray_job(1, "Initializing"), pod("head"), killed).status
    assert seen.attempts[0].reason == "OutOfMemory"
    ready = [pod("head", phase="Running", ready=True), pod(number=1, phase="Running", ready=True)]
    runs = plan(job(seen.to_dict()), ray_job(1, "Running"), killed, *ready).status
    assert (runs.attempts[0].reason, len(runs.attempts[0].evidence)) == (None, 1)
    taken_away = pod("head", **taken("PreemptionByScheduler"))
    ended = plan(job(runs.to_dict()), ray_job(1, "Failed", ended=0), taken_away, ready[1], now=10).status.attempts[0]
    assert (ended.reason, ended.exempt) == ("Preempted", True)


def test_a_worker_that_was_replaced_during_the_run_does_not_outweigh_what_ended_it() -> None:
    """O2"""
    killed, head = pod(container=OUT_OF_MEMORY, phase="Failed"), pod("head", phase="Running", ready=True)
    seen = plan(job(started(attempt(runningTime=at(0)))), ray_job(1, "Running"), head, killed).status
    whole = [ray_job(1, "Running"), head, pod(number=1, phase="Running", ready=True)]
    goes_on = plan(job(seen.to_dict()), *whole).status
    assert goes_on.attempts[0].reason == "OutOfMemory", "it may yet be what ends the run"
    evicted = pod("head", **taken("EvictionByEvictionAPI"))
    ended = plan(job(goes_on.to_dict()), ray_job(1, "Failed", ended=0), evicted, whole[2], now=10).status.attempts[0]
    assert (ended.reason, ended.exempt) == ("Preempted", True)


def test_a_worker_that_was_replaced_before_anybody_looked_is_why_the_run_fails() -> None:
    killed, head = pod(container=OUT_OF_MEMORY, phase="Failed"), pod("head", phase="Running", ready=True)
    whole = [head, pod(number=1, phase="Running", ready=True)]
    seen = plan(job(started(attempt(runningTime=at(0)))), ray_job(1, "Running"), killed, *whole).status
    assert seen.attempts[0].reason == "OutOfMemory"
    ended = plan(job(seen.to_dict()), ray_job(1, "Running"), *whole, report(finished=failed("Unknown"))).status
    assert ended.reason == "OutOfMemory"


def test_a_container_that_ended_well_is_no_evidence() -> None:
    shown = plan(job(started(attempt())), ray_job(1, "Running"), pod("submitter", container=terminated(0, "Completed")))
    assert shown.status.attempts[0].evidence == []


@pytest.mark.parametrize(
    ("weaker", "strong"),
    pairwise(
        ["Unknown", "Interrupted", "AttemptDeleted", "Evicted", "NodeLost", "Preempted", "OutOfMemory", "InvalidData"]
    ),
)
def test_of_two_words_on_an_end_the_stronger_counts_in_any_order(weaker: str, strong: str) -> None:
    one, other = Failure(weaker, "weak"), Failure(strong, "strong")
    assert stronger(one, other) == stronger(other, one) == other
    assert stronger(one, None) == one


@pytest.mark.parametrize(
    ("said", "shown", "reason"),
    [
        pytest.param("Unknown", "NodeLost", "NodeLost", id="a trainer that only saw its workers vanish"),
        pytest.param("Interrupted", "Preempted", "Preempted", id="a trainer that was told to end"),
        pytest.param("InvalidData", "NodeLost", "InvalidData", id="a trainer that knows better"),
        pytest.param("OutOfMemory", "Evicted", "OutOfMemory", id="a trainer that ran out of memory first"),
    ],
)
def test_the_trainers_word_and_the_clusters_are_weighed(said: str, shown: str, reason: str) -> None:
    status = started(attempt(reason=shown, message="The cluster's word."))
    ended = plan(
        job(status), ray_job(1, "Failed", ended=0), report(finished=failed(said, "The trainer's word."))
    ).status
    assert ended.attempts[0].reason == reason


def test_a_later_weaker_sight_does_not_replace_a_stronger_one() -> None:
    status = started(attempt(reason="OutOfMemory", message="Out of memory."))
    shown = plan(job(status), ray_job(1, "Running"), pod(**taken("DeletionByPodGC"))).status.attempts[0]
    assert (shown.reason, shown.message) == ("OutOfMemory", "Out of memory.")


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param([pod("head", phase="Running", deleting=True, **taken("DeletionByTaintManager"))], id="it ends"),
        pytest.param([pod("head", phase="Failed", **taken("DeletionByPodGC"))], id="it failed"),
        pytest.param([pod(**taken("DeletionByPodGC"))], id="it is gone, and a worker tells why"),
    ],
)
def test_an_attempt_that_lost_its_head_is_over_though_its_ray_job_never_ends(pods: list[Object]) -> None:
    """The submitter's connection to a head whose node went dark is never closed, so KubeRay sees no end."""
    over = plan(job(started(attempt())), ray_job(1, "Running"), *pods)
    assert (over.status.attempts[0].reason, over.status.attempts[0].exempt) == ("NodeLost", True)
    assert [ref.name for ref in over.delete] == [name_of(1)]


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([ray_job(1, "Running")], id="nothing tells of an end"),
        pytest.param([ray_job(1, "Initializing"), pod(**taken("DeletionByPodGC"))], id="KubeRay makes another head"),
        pytest.param([ray_job(1, "Running", suspended=True), pod(**taken("DeletionByPodGC"))], id="the queue has it"),
    ],
)
def test_without_a_head_an_attempt_may_go_on(objects: list[Object]) -> None:
    assert plan(job(started(attempt())), *objects).status.attempts[0].completion_time is None


def test_a_head_that_is_lost_before_the_run_is_submitted_ends_the_attempt_after_a_minute() -> None:
    """N1: KubeRay makes no second head once all pods were ready, and no submitter without one."""
    provisioned = ray_cluster(1, 1, condition("RayClusterProvisioned"))
    shown = [ray_job(1, "Initializing", rayClusterName=provisioned["metadata"]["name"]), provisioned, pod()]
    seen = plan(job(started(attempt())), *shown, now=10)
    assert (seen.status.attempts[0].head_gone_time, seen.again_after) == (at(10), 60)
    assert seen.status.phase == "Admitted"
    assert "the head has been missing" in (seen.status.message or "")
    over = plan(job(seen.status.to_dict()), *shown, now=70)
    assert (over.status.attempts[0].reason, over.status.reason) == (Reason.INTERRUPTED, Reason.WAITING_TO_RETRY)
    assert [ref.name for ref in over.delete] == [name_of(1)]


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([ray_cluster()], id="its pods were never all ready"),
        pytest.param([ray_cluster(1, 2, condition("RayClusterProvisioned"))], id="those of an earlier cluster were"),
    ],
)
def test_a_head_that_kuberay_makes_again_is_waited_for(objects: list[Object]) -> None:
    """N1"""
    shown = ray_job(1, "Initializing", rayClusterName=f"{name_of(1)}-1")
    assert plan(job(started(attempt())), shown, *objects, pod()).status.attempts[0].head_gone_time is None


def test_a_run_without_a_head_that_kuberay_does_not_end_ends_after_a_minute() -> None:
    shown = [ray_job(1, "Running"), pod(role="worker")]
    seen = plan(job(started(attempt(runningTime=at(0)))), *shown, now=10)
    (gone,) = seen.status.attempts
    assert (gone.head_gone_time, gone.completion_time, seen.again_after) == (at(10), None, 60)
    waits = plan(job(seen.status.to_dict()), *shown, now=69)
    assert (waits.status.attempts[0], waits.again_after) == (gone, 1)
    over = plan(job(seen.status.to_dict()), *shown, now=70)
    (ended,) = over.status.attempts
    assert (ended.reason, ended.completion_time, ended.head_gone_time) == (Reason.INTERRUPTED, at(70), at(10))
    assert "as if somebody had deleted it; KubeRay has not ended the run in 60 seconds" in (ended.message or "")
    assert over.status.reason == Reason.WAITING_TO_RETRY
    assert [ref.name for ref in over.delete] == [name_of(1)]
    assert [guard.because for guard in over.guards] == [f"the head of {JOB} runs"]


def test_the_last_attempt_without_a_head_gives_its_hardware_back_at_once() -> None:
    unheard = job(started(attempt(runningTime=at(0), headGoneTime=at(10))), retry={"maxAttempts": 1})
    over = plan(unheard, ray_job(1, "Running"), now=70)
    assert (over.status.phase, over.status.reason) == ("Failed", Reason.INTERRUPTED)
    assert [ref.name for ref in over.delete] == [name_of(1)]


def test_what_an_earlier_pod_showed_does_not_take_the_minute_from_a_run_without_a_head() -> None:
    replaced = attempt(runningTime=at(0), reason=Reason.OUT_OF_MEMORY, message="a worker was killed")
    (waits,) = plan(job(started(replaced)), ray_job(1, "Running"), pod(), now=10).status.attempts
    assert (waits.head_gone_time, waits.completion_time) == (at(10), None)


def test_a_head_that_was_only_out_of_sight_costs_nothing() -> None:
    unseen = attempt(runningTime=at(0), headGoneTime=at(10))
    goes_on = plan(job(started(unseen)), ray_job(1, "Running"), pod(role="head"), now=100).status.attempts[0]
    assert (goes_on.head_gone_time, goes_on.completion_time) == (None, None)


@pytest.mark.parametrize(
    ("evidence", "heads", "reason"),
    [
        pytest.param(["pod reviews-1-head-0: container head ended with 1 (Error)"], [], Reason.UNKNOWN, id="crashed"),
        pytest.param([], [pod("head", phase="Succeeded")], Reason.UNKNOWN, id="ended well, as no head should"),
        pytest.param(
            ["pod reviews-1-head-0: container head ended with 143 (Error)"], [], Reason.INTERRUPTED, id="told to end"
        ),
        pytest.param(
            ["pod reviews-1-head-0: container head ended with 137 (Error)"], [], Reason.INTERRUPTED, id="killed"
        ),
    ],
)
def test_a_head_that_ended_by_itself_was_not_deleted(evidence: list[str], heads: list[Object], reason: str) -> None:
    seen = attempt(runningTime=at(0), headGoneTime=at(10), evidence=evidence)
    (ended,) = plan(job(started(seen)), ray_job(1, "Running"), *heads, now=70).status.attempts
    assert ended.reason == reason


def test_a_success_that_is_heard_of_after_its_pods_went_is_like_any_other() -> None:
    over = plan(job(started(attempt(runningTime=at(0)))), ray_job(1, "Running"), report(finished=succeeded()), now=20)
    assert (over.status.phase, over.status.attempts[0].head_gone_time) == ("Succeeded", None)


@pytest.mark.parametrize("said", ["Unknown", "Interrupted"])
def test_what_a_trainer_says_while_the_queue_takes_its_pods_costs_no_attempt(said: str) -> None:
    shown = [ray_job(1, "Suspending", suspended=True), report(finished=failed(said, "a worker process died"))]
    ended = plan(job(started(attempt()), queueName="team-q", retry={"maxAttempts": 1}), *shown)
    assert (ended.status.attempts[0].reason, ended.status.attempts[0].exempt) == ("Preempted", True)
    assert ended.status.reason == Reason.WAITING_TO_RETRY


def test_a_ray_job_that_somebody_deletes_while_it_waits_in_a_queue_costs_an_attempt() -> None:
    shown = ray_job(1, suspended=True, deleting=True)
    assert plan(job(started(attempt()), queueName="team-q"), shown).status.attempts[0].reason == "AttemptDeleted"


def test_an_error_of_the_run_is_one_though_the_queue_takes_its_pods() -> None:
    shown = [ray_job(1, "Suspending", suspended=True), report(finished=failed("InvalidData"))]
    assert plan(job(started(attempt()), queueName="team-q"), *shown).status.reason == "InvalidData"


def test_two_pods_that_show_different_things_the_stronger_counts() -> None:
    assert provisional(pod(**taken("DeletionByPodGC")), pod(number=1, container=OUT_OF_MEMORY))[0] == "OutOfMemory"


def test_pods_of_another_attempt_say_nothing_of_this_one() -> None:
    assert provisional(pod(attempt=2, container=OUT_OF_MEMORY)) == (None, None)


def test_a_trainer_that_ends_without_a_report_is_waited_for_and_then_given_up() -> None:
    shown = [job(started(attempt())), ray_job(1, "Failed", ended=20, reason="AppFailed", message="exit 1")]
    waits = plan(*shown, now=25)
    assert (waits.again_after, waits.status.attempts[0].completion_time) == (5, None)
    assert waits.status.message == "the run has ended; waits for its final report"
    ended = plan(*shown, now=30).status.attempts[0]
    assert (ended.reason, ended.completion_time) == ("Unknown", at(30))
    assert "KubeRay says: AppFailed: exit 1." in (ended.message or "")


def test_a_last_word_within_the_grace_counts() -> None:
    shown = [job(started(attempt())), ray_job(1, "Failed", ended=20), report(finished=failed("InvalidData"))]
    assert plan(*shown, now=25).status.reason == "InvalidData"


def test_the_wait_for_the_last_word_begins_when_the_end_is_seen() -> None:
    """O10: KubeRay's clock may be 400 seconds behind, or ahead."""
    for theirs in (-400, 400):
        over = ray_job(1, "Failed") | {"status": {"jobDeploymentStatus": "Failed", "endTime": at(theirs)}}
        first = reconcile(see(profile(), job(started(attempt())), over), SETTINGS, after(5))
        assert (first.status.attempts[0].completion_time, first.again_after) == (None, 10)
        again = reconcile(see(profile(), job(first.status.to_dict()), over), SETTINGS, after(15))
        assert again.status.attempts[0].reason == Reason.UNKNOWN


def test_a_success_without_a_report_is_tried_once_more_for_free_since_the_next_attempt_finds_what_is_published() -> (
    None
):
    shown = [ray_job(1, "Complete", ended=0, jobStatus="SUCCEEDED"), pod(container=OUT_OF_MEMORY)]
    alone = {"maxAttempts": 1}
    assert plan(job(started(attempt()), retry=alone), *shown, now=9).status.attempts[0].completion_time is None
    ended = plan(job(started(attempt()), retry=alone), *shown, now=10).status
    assert (ended.attempts[0].reason, ended.attempts[0].exempt) == (Reason.REPORT_LOST, True)
    assert ended.reason == Reason.WAITING_TO_RETRY
    assert f"its model is published if {ROOT}/manifest.json exists" in (ended.message or "")
    assert "the next one ends with a model that it finds published" in (ended.message or "")


@pytest.mark.parametrize(("most", "phase"), [(1, "Failed"), (2, "Pending")])
def test_a_second_success_without_a_report_counts_so_that_there_is_an_end_to_it(most: int, phase: str) -> None:
    lost = attempt(1, ended=0, reason=Reason.REPORT_LOST, exempt=True)
    again = job(started(lost, attempt(2)), retry={"maxAttempts": most})
    ended = plan(again, ray_job(2, "Complete", ended=0, jobStatus="SUCCEEDED"), now=10).status
    assert (ended.phase, ended.attempts[1].reason, ended.attempts[1].exempt) == (phase, Reason.REPORT_LOST, False)


def test_a_completed_ray_job_without_a_report_is_no_success() -> None:
    ended = plan(job(started(attempt())), ray_job(1, "Complete", ended=0), now=10).status.attempts[0]
    assert (ended.reason, "KubeRay says: Complete." in (ended.message or "")) == ("Unknown", True)


def test_a_run_whose_head_was_deleted_says_so_as_long_as_nothing_else_takes_heads_away() -> None:
    shown = [job(started(attempt(runningTime=at(0)))), ray_job(1, "Failed", reason="SubmissionFailed", ended=20)]
    ended = plan(*shown, ray_cluster(), pod(role="worker"), now=30).status.attempts[0]
    assert ended.reason == Reason.INTERRUPTED
    assert "as if somebody had deleted it; KubeRay says: SubmissionFailed" in (ended.message or "")
    with_head = plan(*shown, ray_cluster(), pod(role="head"), now=30).status.attempts[0]
    assert with_head.reason == Reason.UNKNOWN
    long_ago = plan(*shown, now=30).status.attempts[0]
    assert long_ago.reason == Reason.UNKNOWN, "KubeRay took the whole cluster away"
    crashed = attempt(runningTime=at(0), evidence=["pod reviews-1-head-0: container head ended with 1 (Error)"])
    by_itself = plan(job(started(crashed)), shown[1], ray_cluster(), now=30).status.attempts[0]
    assert by_itself.reason == Reason.UNKNOWN


def test_a_ray_job_that_kuberay_refuses_fails_at_once_and_for_good() -> None:
    refused = ray_job(1, "ValidationFailed", reason="ValidationFailed", message="the name is too long")
    ended = plan(job(started(attempt())), refused).status
    assert (ended.phase, ended.reason) == ("Failed", Reason.KUBERAY_REFUSED)
    assert "the name is too long" in (ended.message or "")


def test_a_ray_job_that_somebody_deletes_costs_an_attempt() -> None:
    cluster = SimulatedCluster(retry={"maxAttempts": 1}).after(pods_run, somebody_deletes_the_ray_job)
    assert (cluster.phase, cluster.status["reason"]) == ("Failed", Reason.ATTEMPT_DELETED)


def test_a_ray_job_that_is_being_deleted_counts_as_deleted() -> None:
    ended = plan(job(started(attempt())), ray_job(1, "Running", deleting=True))
    assert ended.status.attempts[0].reason == Reason.ATTEMPT_DELETED
    assert ended.delete == ()


def test_a_ray_job_that_went_with_its_node_lost_its_node() -> None:
    cluster = SimulatedCluster(retry={"maxAttempts": 1}).after(pods_run, node_is_lost, somebody_deletes_the_ray_job)
    assert (cluster.status["attempts"][0]["reason"], cluster.status["attempts"][0]["exempt"]) == ("NodeLost", True)


def test_a_reason_that_nobody_named_is_never_retried() -> None:
    assert not policy("Whatever").retry
    assert policy(Reason.UNKNOWN).retry
