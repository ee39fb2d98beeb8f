"""Pods that do not start: how long they are waited for, by whose clock, and who has to act."""

from dataclasses import replace
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.status import FineTuneJobStatus
from kubetune_operator.jobs.reconcile import reconcile
from support.observed_jobs import (
    SETTINGS,
    Object,
    after,
    at,
    attempt,
    condition,
    event,
    failed,
    job,
    name_of,
    plan,
    pod,
    profile,
    ray_job,
    report,
    see,
    started,
    terminated,
    waiting,
)

WORKER, HEAD = f"{name_of(1)}-worker-0", pod("head", phase="Running")
READY_HEAD = pod("head", phase="Running", ready=True)
LOOKS: dict[str, Any] = {
    "container": waiting("PodInitializing"),
    "initContainerStatuses": [{"name": "wait-gcs-ready", "state": {"running": {"startedAt": "2026-05-01T12:00:00Z"}}}],
}
"""A worker in which KubeRay's init container looks for the head."""
AS_ROOT = 'container has runAsNonRoot and image will run as root (pod: "w_team-a(1)", container: worker)'
PULLING = 'Back-off pulling image "trainer:1": ErrImagePull: rpc error: code = {code} desc = failed to pull and unpack'
NOT_THERE = f'{PULLING.format(code="NotFound")} image "docker.io/trainer:1": failed to resolve reference: not found'
DENIED = (
    "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope"
)
STUCK = {
    "an image that is not there": (
        {"container": waiting("ImagePullBackOff", NOT_THERE)},
        "ImagePullFailed",
        [NOT_THERE, "spec.imagePullSecrets"],
    ),
    "a registry that refuses": (
        {"container": waiting("ErrImagePull", DENIED)},
        "ImagePullFailed",
        [DENIED, "spec.imagePullSecrets"],
    ),
    "credentials that are refused": (
        {"container": waiting("ErrImagePull", "unexpected status from HEAD request: 401 Unauthorized")},
        "ImagePullFailed",
        ["401 Unauthorized"],
    ),
    "an image that nobody can name": ({"container": waiting("InvalidImageName")}, "ImagePullFailed", ["spec.image"]),
    "an image that may not be fetched": (
        {"container": waiting("ErrImageNeverPull")},
        "ImagePullFailed",
        ["spec.image"],
    ),
    "an image of another's container": (
        {"sidecar": waiting("ImagePullBackOff", NOT_THERE), "container": waiting("PodInitializing")},
        "ImagePullFailed",
        ["the container istio-proxy, which is not kubetune's", "whoever adds it to pods", "spare ours"],
    ),
    "a variable of a Secret that is missing": (
        {"container": waiting("CreateContainerConfigError", 'secret "keys" not found')},
        "SecretMissing",
        ['secret "keys" not found', "spec.credentials"],
    ),
    "a variable of a key that a Secret has not": (
        {"container": waiting("CreateContainerConfigError", "couldn't find key TOKEN in Secret team-a/keys")},
        "SecretMissing",
        ["couldn't find key TOKEN", "spec.credentials"],
    ),
    "an image that runs as root": (
        {"container": waiting("CreateContainerConfigError", AS_ROOT)},
        "ImageRefused",
        ["image will run as root", "spec.image"],
    ),
    "an image whose user has no number": (
        {"container": waiting("CreateContainerConfigError", "cannot verify user is non-root")},
        "ImageRefused",
        ["USER that is a number"],
    ),
}
AWAY = {
    "no connection": "dial tcp 10.0.0.5:443: connect: connection refused",
    "no answer": 'Head "https://registry.example/v2/trainer": dial tcp: i/o timeout',
    "no name": "dial tcp: lookup registry.example on 10.96.0.10:53: no such host",
    "an error of its own": "unexpected status from HEAD request: 503 Service Unavailable",
    "too many requests": "unexpected status code: 429 Too Many Requests - Server message: toomanyrequests: limit",
    "an answer that went astray, for an image that was not found before": "404 not found; retry: connection reset",
    "a node that does not say why": "",
}
NODES_FAULT = {
    "a node that does not hear of a Secret in time": (
        {"container": waiting("CreateContainerConfigError", "failed to sync secret cache: timed out")},
        ["cannot start on its node: failed to sync secret cache"],
    ),
    "a node without a word": (
        {"container": waiting("CreateContainerConfigError")},
        ["the node does not say why"],
    ),
    "a container that its runtime does not make": (
        {"container": waiting("CreateContainerError", "failed to reserve container name")},
        ["cannot start on its node: CreateContainerError: failed to reserve container name"],
    ),
    "a container that its runtime does not start": (
        {"container": waiting("RunContainerError", 'exec: "python": executable file not found in $PATH')},
        ["cannot start on its node: RunContainerError"],
    ),
    "a sidecar's container that its runtime does not make": (
        {"sidecar": waiting("CreateContainerError", "no such device"), "container": waiting("PodInitializing")},
        ["because of the container istio-proxy, which is not kubetune's: CreateContainerError: no such device"],
    ),
    "a network that is not set up": (
        {
            "container": waiting("ContainerCreating"),
            "conditions": (condition("PodReadyToStartContainers", "False"),),
        },
        ["no volumes or no network; the platform team must fix the node", f"involvedObject.name={WORKER}"],
    ),
    "a network that is not set up, or a volume of a Secret that is missing": (
        {
            "container": waiting("ContainerCreating"),
            "conditions": (condition("PodReadyToStartContainers", "False"),),
            "secrets": ("keys", "token"),
        },
        ["create the Secrets keys, token", "or correct spec.credentials; where they are there, the platform team must"],
    ),
    "a volume of the key that signs": (
        {
            "container": waiting("ContainerCreating"),
            "conditions": (condition("PodReadyToStartContainers", "False"),),
            "secrets": ("keys",),
            "signing": "model-signing",
        },
        ["create the Secrets keys, model-signing", "or correct spec.credentials or spec.signing of the profile; where"],
    ),
}


def waited(
    *pods: Object, since: float = 10, until: float = 310, unwatched: tuple[Object, ...] = (), **of_attempt: Any
) -> FineTuneJobStatus:
    """The status once the pods have shown the same for five minutes by the operator's clock."""
    seen = plan(job(started(attempt(**of_attempt))), ray_job(1, "Initializing"), HEAD, *pods, now=since)
    assert (seen.status.attempts[0].stuck_time, seen.again_after) == (at(since), 300)
    early = plan(job(seen.status.to_dict()), ray_job(1, "Initializing"), HEAD, *pods, now=until - 1)
    assert (early.status.attempts[0].completion_time, early.again_after, early.questions) == (None, 1, ())
    held = job(seen.status.to_dict()), ray_job(1, "Initializing"), HEAD, *pods
    return plan(*held, now=until, unwatched=unwatched).status


@pytest.mark.parametrize("case", NODES_FAULT.values(), ids=NODES_FAULT)
def test_a_pod_that_may_be_stuck_by_its_node_gets_its_time_and_then_costs_one_attempt(
    case: tuple[dict[str, Any], list[str]],
) -> None:
    """N2: `CreateContainerError` too."""
    fields, words = case
    late = waited(pod(**fields))
    ended = late.attempts[0]
    assert (ended.reason, ended.exempt, ended.stuck_pod) == (Reason.POD_STUCK, False, None)
    assert (late.phase, late.reason) == ("Pending", Reason.WAITING_TO_RETRY)
    assert all(word in (ended.message or "") for word in words)


def test_a_pod_that_is_stuck_gives_its_hardware_back() -> None:
    stuck = attempt(stuckPod=WORKER, stuckTime=at(0))
    late = plan(job(started(stuck)), ray_job(1), pod(container=waiting("CreateContainerError")), now=300)
    assert [ref.name for ref in late.delete] == [name_of(1)], "it is free for the next attempt"


@pytest.mark.parametrize("case", STUCK.values(), ids=STUCK)
def test_a_pod_that_cannot_start_gets_its_time_and_then_ends_the_job(
    case: tuple[dict[str, Any], str, list[str]],
) -> None:
    """O7, O8: "not found" and "denied" are final, and whose the image is decides who must act."""
    fields, reason, words = case
    late = waited(pod(**fields))
    assert (late.phase, late.reason) == ("Failed", reason)
    assert all(word in (late.message or "") for word in words)
    if "sidecar" in fields:
        assert "spec.image" not in (late.message or ""), "the profile's image is not the one that is wrong"


@pytest.mark.parametrize("said", AWAY.values(), ids=AWAY)
def test_a_registry_that_is_away_costs_one_attempt_and_another_follows(said: str) -> None:
    """O8"""
    late = waited(pod(container=waiting("ImagePullBackOff", said)))
    (ended,) = late.attempts
    assert (ended.reason, ended.exempt) == (Reason.REGISTRY_UNAVAILABLE, False)
    assert (late.phase, late.reason) == ("Pending", Reason.WAITING_TO_RETRY)
    assert said in (ended.message or "")
    assert "the registry may be away" in (ended.message or "")


@pytest.mark.parametrize(
    ("cause", "reason", "phase"),
    [
        pytest.param(NOT_THERE, "ImagePullFailed", "Failed", id="an image that is not there"),
        pytest.param("dial tcp: i/o timeout", "RegistryUnavailable", "Pending", id="a registry that is away"),
    ],
)
@pytest.mark.parametrize("said", ['Back-off pulling image "trainer:1"', ""], ids=["the image alone", "nothing"])
def test_what_an_older_node_does_not_say_of_an_image_its_events_tell(
    said: str, cause: str, reason: str, phase: str
) -> None:
    """O8: before Kubernetes 1.32 the state of a container names no cause while its image is not tried again."""
    events = (
        event('Failed to pull image "trainer:1": denied', about=WORKER, of="Pod", last=20),
        event(f'Failed to pull image "trainer:1": {cause}', about=WORKER, of="Pod", last=200),
        event("Error: ErrImagePull", about=WORKER, of="Pod", last=300),
    )
    late = waited(pod(container=waiting("ImagePullBackOff", said)), unwatched=events)
    assert (late.attempts[0].reason, late.phase) == (reason, phase)
    assert cause in (late.attempts[0].message or "")


def test_the_event_of_another_image_of_the_pod_is_not_its_cause() -> None:
    """O8"""
    other = event('Failed to pull image "sidecar:1": not found', about=WORKER, of="Pod")
    back_off = waiting("ImagePullBackOff", 'Back-off pulling image "trainer:1"')
    assert waited(pod(container=back_off), unwatched=(other,)).attempts[0].reason == Reason.REGISTRY_UNAVAILABLE


def test_the_events_of_a_node_that_says_the_cause_are_not_asked_for() -> None:
    stuck = attempt(stuckPod=WORKER, stuckTime=at(0))
    late = plan(job(started(stuck)), ray_job(1), HEAD, pod(container=waiting("ErrImagePull", NOT_THERE)), now=300)
    assert (late.status.reason, late.questions) == (Reason.IMAGE_PULL_FAILED, ())


@pytest.mark.parametrize("theirs", [-400, 400])
def test_the_time_of_a_pod_that_cannot_start_is_the_operators_own(theirs: float) -> None:
    """O10: a scheduler whose clock is 400 seconds behind must not make every attempt `PodStuck`."""
    placed = condition("PodScheduled", since=theirs)
    late = waited(pod(created=theirs, conditions=(placed,), container=waiting("CreateContainerError")))
    assert late.attempts[0].reason == Reason.POD_STUCK


def test_the_time_begins_anew_for_a_pod_that_could_start_meanwhile() -> None:
    stuck, other = pod(container=waiting("ErrImagePull")), pod(number=1, container=waiting("ErrImagePull"))
    first = plan(job(started(attempt())), ray_job(1), stuck, now=0).status
    both = plan(job(first.to_dict()), ray_job(1), stuck, other, now=200).status
    assert (both.attempts[0].stuck_pod, both.attempts[0].stuck_time) == (WORKER, at(0))
    one = plan(job(both.to_dict()), ray_job(1), pod(container=waiting("ContainerCreating")), other, now=250).status
    assert (one.attempts[0].stuck_pod, one.attempts[0].stuck_time) == (f"{name_of(1)}-worker-1", at(250))
    none = plan(job(one.to_dict()), ray_job(1), pod(), now=300).status
    assert (none.attempts[0].stuck_pod, none.attempts[0].stuck_time) == (None, None)


def test_what_becomes_of_anothers_container_ends_no_run_that_has_begun() -> None:
    """O7"""
    sidecar = pod(phase="Running", sidecar=waiting("ImagePullBackOff", NOT_THERE), container={"state": {"running": {}}})
    running = attempt(runningTime=at(0))
    shown = plan(job(started(running)), ray_job(1, "Running"), pod("head", phase="Running"), sidecar, now=1000)
    assert (shown.status.attempts[0].stuck_time, shown.status.phase) == (None, "Running")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"container": waiting("ContainerCreating")}, id="it fetches a large image"),
        pytest.param({"container": waiting("PodInitializing")}, id="it waits for the head"),
        pytest.param({"container": waiting("CrashLoopBackOff")}, id="it failed by itself"),
        pytest.param(
            {
                "container": waiting("ContainerCreating"),
                "conditions": (condition("PodReadyToStartContainers"),),
                "secrets": ("keys",),
            },
            id="it has its volumes",
        ),
        pytest.param({"conditions": (condition("PodScheduled", "False", message="no GPU"),)}, id="it has no node"),
    ],
)
def test_a_pod_that_may_yet_start_is_waited_for_without_a_clock(fields: dict[str, Any]) -> None:
    waits = plan(job(started(attempt())), ray_job(1), HEAD, pod(**fields), now=100_000)
    assert (waits.status.attempts[0].completion_time, waits.again_after) == (None, None)


def test_a_worker_that_does_not_reach_a_ready_head_is_told_of_and_gives_its_hardware_back() -> None:
    """A wrong setting of the cluster's DNS, or a NetworkPolicy, kept every worker in its init container for ever."""
    shown = (ray_job(1, "Initializing"), READY_HEAD, pod(**LOOKS))
    first = plan(job(started(attempt())), *shown, now=10)
    assert (first.status.message, first.again_after) == ("0 of 1 workers are ready", 120)
    told = plan(job(first.status.to_dict()), *shown, now=130)
    assert (told.status.reason, told.again_after) == (Reason.WAITING_FOR_PODS, 300)
    message = told.status.message or ""
    assert message.startswith(
        f"0 of 1 workers are ready; the worker {WORKER} does not reach the head {name_of(1)}-head-0"
    )
    assert all(cause in message for cause in ("operator.dnsPods", "NetworkPolicy", "service mesh"))
    impatient = replace(SETTINGS, stuck_seconds=10)
    early = plan(job(told.status.to_dict()), *shown, now=429, settings=impatient)
    assert early.status.attempts[0].completion_time is None, "a worker looks for its head with a fifth of a core"
    late = plan(job(told.status.to_dict()), *shown, now=430)
    (ended,) = late.status.attempts
    assert (ended.reason, ended.exempt, ended.stuck_reason) == (Reason.HEAD_UNREACHABLE, False, None)
    assert (late.status.phase, late.status.reason) == ("Pending", Reason.WAITING_TO_RETRY)
    assert [ref.name for ref in late.delete] == [name_of(1)], "its hardware is free"


def test_a_worker_whose_node_dies_while_it_looks_for_its_head_has_lost_its_node() -> None:
    """The node counts as gone after 50 seconds, and its pods as taken away after 300 more."""
    looks = (ray_job(1, "Initializing"), READY_HEAD, pod(**LOOKS))
    first = plan(job(started(attempt())), *looks, now=0).status
    waits = plan(job(first.to_dict()), *looks, now=350).status
    assert waits.attempts[0].completion_time is None
    taken = condition("DisruptionTarget", reason="DeletionByTaintManager", message="taint manager: deleting")
    lost = ray_job(1, "Failed", ended=355), READY_HEAD, pod(**LOOKS | {"deleting": True, "conditions": (taken,)})
    (ended,) = plan(job(waits.to_dict()), *lost, now=370).status.attempts
    assert (ended.reason, ended.exempt) == (Reason.NODE_LOST, True)


CAUSELESS = pod(container=waiting("ImagePullBackOff", 'Back-off pulling image "trainer:1"'))


@pytest.mark.parametrize(
    ("thing", "of_attempt", "deadline", "reason"),
    [
        pytest.param(report(finished=failed("InvalidData")), {}, None, "InvalidData", id="its last report"),
        pytest.param(ray_job(1, "ValidationFailed"), {}, None, "KubeRayRefused", id="a RayJob that is over"),
        pytest.param(ray_job(1, deleting=True), {}, None, "AttemptDeleted", id="a RayJob that goes"),
        pytest.param(pod("head"), {"runningTime": at(0)}, 60, "DeadlineExceeded", id="its deadline"),
    ],
)
def test_what_else_has_ended_an_attempt_asks_nobody_why_a_pod_is_stuck(
    thing: Object, of_attempt: dict[str, Any], deadline: int | None, reason: str
) -> None:
    stuck = attempt(stuckPod=WORKER, stuckTime=at(0), deadlineSeconds=deadline, **of_attempt)
    ray_jobs = () if thing["kind"] == "RayJob" else (ray_job(1),)
    seen = see(profile(), job(started(stuck)), CAUSELESS, thing, *ray_jobs)
    found = reconcile(seen, SETTINGS, after(300))
    assert (found.questions, found.status.attempts[0].reason) == ((), reason)


@pytest.mark.parametrize(
    ("head", "worker", "of_attempt"),
    [
        pytest.param(HEAD, pod(**LOOKS), {}, id="the head is not ready"),
        pytest.param(pod("head", ready=True, deleting=True), pod(**LOOKS), {}, id="the head goes"),
        pytest.param(READY_HEAD, pod(**LOOKS, deleting=True), {}, id="the worker goes"),
        pytest.param(READY_HEAD, pod(**LOOKS), {"runningTime": at(0)}, id="the run has begun"),
        pytest.param(
            READY_HEAD,
            pod(initContainerStatuses=[{"name": "wait-gcs-ready", **terminated(0, "Completed")}]),
            {},
            id="it has found the head",
        ),
    ],
)
def test_a_worker_that_may_look_for_its_head_has_no_clock(
    head: Object, worker: Object, of_attempt: dict[str, Any]
) -> None:
    waits = plan(job(started(attempt(**of_attempt))), ray_job(1, "Initializing"), head, worker, now=1000)
    assert waits.status.attempts[0].stuck_time is None


def test_a_worker_that_got_its_image_late_has_all_of_its_time_to_reach_the_head() -> None:
    pulls = pod(container=waiting("ImagePullBackOff"))
    first = plan(job(started(attempt())), ray_job(1), READY_HEAD, pulls, now=0).status
    again = plan(job(first.to_dict()), ray_job(1), READY_HEAD, pod(container=waiting("ErrImagePull", DENIED)), now=200)
    assert again.status.attempts[0].stuck_time == at(0), "what a registry says may change"
    looks = plan(job(again.status.to_dict()), ray_job(1), READY_HEAD, pod(**LOOKS), now=290).status
    assert (looks.attempts[0].stuck_time, looks.attempts[0].stuck_reason) == (at(290), Reason.HEAD_UNREACHABLE)


def test_of_many_workers_that_find_the_head_one_after_another_none_is_kept_apart() -> None:
    status = started(attempt())
    for second in range(0, 1000, 50):
        each = pod(number=second // 50, **LOOKS)
        found = plan(job(status), ray_job(1, "Initializing"), READY_HEAD, each, now=second).status
        assert "does not reach" not in (found.message or "")
        status = found.to_dict()
