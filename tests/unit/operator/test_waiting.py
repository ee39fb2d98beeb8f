from typing import Any

import pytest

from kubetune_api.status import FineTuneJobStatus, Summary
from support.observed_jobs import (
    Object,
    at,
    attempt,
    condition,
    job,
    name_of,
    plan,
    pod,
    profile,
    progress,
    ray_job,
    report,
    started,
    waiting,
)

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
UNSCHEDULED = condition("PodScheduled", "False", "Unschedulable", NO_GPU)
PREPARED, UNPREPARED = condition("PodReadyToStartContainers"), condition("PodReadyToStartContainers", "False")
HEAD, WORKER, SUBMITTER = (f"{name_of(1)}-{role}-0" for role in ("head", "worker", "submitter"))
RUNNING_HEAD, READY_HEAD = pod("head", phase="Running"), pod("head", phase="Running", ready=True)
UNSUBMITTED = ray_job(1, "Running", jobStatus="")
"""KubeRay has made the Job of the submitter, of which Ray knows nothing yet."""


def shown(*objects: Object, **spec: Any) -> FineTuneJobStatus:
    return plan(job(started(attempt()), **({"resources__workers": 4} | spec)), *objects).status


@pytest.mark.parametrize(
    ("objects", "phase", "reason", "message"),
    [
        pytest.param(
            [ray_job(suspended=True)],
            "Pending",
            "WaitingForQuota",
            "waits in queue team-q for quota; `kubectl describe workloads` says how much is free",
            id="the queue",
        ),
        pytest.param(
            [ray_job()], "Admitted", "WaitingForPods", "waits for KubeRay to create the pods", id="no pod yet"
        ),
        pytest.param(
            [ray_job(), pod("head", ready=True), pod(conditions=(UNSCHEDULED,)), pod(number=1)],
            "Admitted",
            "WaitingForNodes",
            f"1 of 3 pods wait for a node, among them the worker {WORKER}: {NO_GPU}",
            id="no node, in the scheduler's words",
        ),
        pytest.param(
            [ray_job(), pod("head", ready=True), pod(container=waiting("ImagePullBackOff", "no such tag"))],
            "Admitted",
            "WaitingForPods",
            f"the worker {WORKER} cannot start: ImagePullBackOff: no such tag",
            id="an image that cannot be fetched",
        ),
        pytest.param(
            [ray_job(), pod(container=waiting("CrashLoopBackOff"))],
            "Admitted",
            "WaitingForPods",
            f"the worker {WORKER} cannot start: CrashLoopBackOff",
            id="a container that says nothing more",
        ),
        pytest.param(
            [ray_job(), pod("head"), pod(conditions=(PREPARED,), container=waiting("ContainerCreating"))],
            "Admitted",
            "WaitingForPods",
            "0 of 4 workers are ready, and the head is not; 1 of 2 pods fetch their image",
            id="an image that is being fetched",
        ),
        pytest.param(
            [
                ray_job(),
                pod(
                    "head", conditions=(UNPREPARED,), container=waiting("ContainerCreating"), secrets=("keys", "token")
                ),
            ],
            "Admitted",
            "WaitingForPods",
            "0 of 4 workers are ready, and the head is not;"
            f" the head {HEAD} waits for its network and its volumes, which need the Secrets keys, token",
            id="a volume that may miss its Secret",
        ),
        pytest.param(
            [ray_job(), pod("head", conditions=(UNPREPARED,), container=waiting("ContainerCreating"))],
            "Admitted",
            "WaitingForPods",
            f"0 of 4 workers are ready, and the head is not; the head {HEAD} waits for its network and its volumes",
            id="a network that may not be set up",
        ),
        pytest.param(
            [ray_job(), pod("head"), pod(container=waiting("ContainerCreating"))],
            "Admitted",
            "WaitingForPods",
            "0 of 4 workers are ready, and the head is not",
            id="an old cluster, which does not say what it does",
        ),
        pytest.param(
            [ray_job(), pod("head", ready=True), pod(ready=True, workers=2), pod(number=1, workers=2)],
            "Admitted",
            "WaitingForPods",
            "2 of 4 workers are ready",
            id="half of the workers, two in each pod",
        ),
        pytest.param(
            [ray_job(), pod("head", ready=True), pod(ready=True, deleting=True, workers=4)],
            "Admitted",
            "WaitingForPods",
            "0 of 4 workers are ready",
            id="a pod that ends is not ready",
        ),
        pytest.param(
            [ray_job(), pod("head", ready=True), pod(ready=True, workers=4)],
            "Admitted",
            "Starting",
            "all workers are ready; waits for Ray to accept the run",
            id="all pods, and Ray not yet",
        ),
        pytest.param(
            [ray_job(), pod("head", conditions=(UNSCHEDULED,), container=None)],
            "Admitted",
            "WaitingForNodes",
            f"1 of 1 pods wait for a node, among them the head {HEAD}: {NO_GPU}",
            id="no node for the head",
        ),
        pytest.param(
            [ray_job(), pod("head", sidecar=waiting("ImagePullBackOff", "no such tag"))],
            "Admitted",
            "WaitingForPods",
            f"the head {HEAD} cannot start because of the container istio-proxy, which is not kubetune's:"
            " ImagePullBackOff: no such tag",
            id="O7: an image of another's container",
        ),
        pytest.param(
            [ray_job(), pod("head", sidecar={"state": {"running": {}}}, container={"state": {"running": {}}})],
            "Admitted",
            "WaitingForPods",
            f"0 of 4 workers are ready, and the head is not; the head {HEAD} waits for the container istio-proxy,"
            " which is not kubetune's, to be ready",
            id="O7: another's container that is not ready",
        ),
        pytest.param(
            [ray_job(), pod(ready=True, workers=4)],
            "Admitted",
            "WaitingForPods",
            "4 of 4 workers are ready, and the head does not exist",
            id="no head",
        ),
        pytest.param(
            [UNSUBMITTED, READY_HEAD, pod(ready=True, workers=4)],
            "Admitted",
            "WaitingForPods",
            "all workers are ready; waits for the pod of the submitter, which does not exist",
            id="O1: a submitter whose pod cannot be made",
        ),
        pytest.param(
            [UNSUBMITTED, READY_HEAD, pod(ready=True, workers=4), pod("submitter", conditions=(UNSCHEDULED,))],
            "Admitted",
            "WaitingForNodes",
            f"1 of 3 pods wait for a node, among them the submitter {SUBMITTER}: {NO_GPU}",
            id="O1: a submitter without a node",
        ),
        pytest.param(
            [
                UNSUBMITTED,
                READY_HEAD,
                pod(ready=True, workers=4),
                pod("submitter", conditions=(PREPARED,), container=waiting("ContainerCreating")),
            ],
            "Admitted",
            "WaitingForPods",
            f"all workers are ready; waits for the submitter {SUBMITTER}; 1 of 3 pods fetch their image",
            id="O1: a submitter that fetches its image",
        ),
        pytest.param(
            [UNSUBMITTED, READY_HEAD, pod(ready=True, workers=4), pod("submitter", phase="Running")],
            "Admitted",
            "Starting",
            "all pods run; waits for Ray to start the driver",
            id="O1: a submitter that submits",
        ),
        pytest.param(
            [UNSUBMITTED, RUNNING_HEAD, report(doing="fetches the model")],
            "Running",
            "Starting",
            "fetches the model",
            id="O1: a driver that reports, though KubeRay cannot ask Ray",
        ),
        pytest.param(
            [ray_job(1, "Running"), RUNNING_HEAD],
            "Running",
            "Starting",
            "the trainer starts",
            id="a trainer without a word",
        ),
        pytest.param(
            [ray_job(1, "Running"), RUNNING_HEAD, report(doing="fetches the model")],
            "Running",
            "Starting",
            "fetches the model",
            id="a trainer that prepares",
        ),
        pytest.param(
            [ray_job(1, "Running"), RUNNING_HEAD, report(progress=progress())],
            "Running",
            "Training",
            "trains",
            id="a training",
        ),
        pytest.param(
            [ray_job(1, "Running"), RUNNING_HEAD, report(2, doing="says another attempt")],
            "Running",
            "Starting",
            "the trainer starts",
            id="another attempt's word",
        ),
        pytest.param(
            [ray_job(1, "Running"), pod(ready=True, workers=4), report(progress=progress())],
            "Running",
            "Training",
            f"the head has been missing since {at(0)}; KubeRay has a minute to end the run",
            id="a training whose head is gone",
        ),
        pytest.param(
            [ray_job(1, "Complete", ended=-5, jobStatus="SUCCEEDED"), pod("head", ready=True)],
            "Running",
            "CleaningUp",
            "the run has ended; waits for its final report",
            id="a run that has ended",
        ),
        pytest.param(
            [ray_job(1, "Failed", ended=-5)],
            "Admitted",
            "CleaningUp",
            "the run has ended; waits for its final report",
            id="a run that never came to Ray",
        ),
    ],
)
def test_what_a_job_waits_for(objects: list[Object], phase: str, reason: str, message: str) -> None:
    status = shown(*objects, queueName="team-q")
    assert (status.phase, status.reason, status.message) == (phase, reason, message)
    conditions = {one.type: one.status for one in status.conditions}
    assert conditions["Admitted"] == ("False" if phase == "Pending" else "True")
    assert conditions["Running"] == ("True" if phase == "Running" else "False")


def test_a_ray_job_that_is_suspended_without_a_queue_waits_for_whoever_did_it() -> None:
    status = plan(job(started(attempt())), ray_job(suspended=True)).status
    assert (
        status.message
        == f"somebody suspended the RayJob {name_of(1)}; it continues when its spec.suspend is false again"
    )


def test_the_deadline_begins_with_the_driver_and_not_with_the_job_that_submits_it() -> None:
    """O1: a submitter whose pod no quota lets in must not use up the time of a job that never ran."""
    limited, pods = {"activeDeadlineSeconds": 60}, (READY_HEAD, pod(ready=True))
    status = started(attempt(deadlineSeconds=60))
    waits = plan(job(status, **limited), UNSUBMITTED, *pods, now=1000).status
    assert (waits.phase, waits.attempts[0].running_time) == ("Admitted", None)
    runs = plan(job(waits.to_dict(), **limited), ray_job(1, "Running"), *pods, now=2000)
    assert (runs.status.attempts[0].running_time, runs.again_after) == (at(2000), 60)


def test_a_report_of_before_the_queue_took_the_hardware_is_no_word_of_a_driver() -> None:
    """O1"""
    status = started(attempt(ranSeconds=60))
    waits = plan(job(status), UNSUBMITTED, READY_HEAD, pod(ready=True), report(doing="trains")).status
    assert (waits.phase, waits.attempts[0].running_time) == ("Admitted", None)


def test_the_pods_of_another_attempt_do_not_count() -> None:
    assert shown(ray_job(), pod(attempt=2, ready=True, workers=4)).summary == Summary(workers="0/4")


@pytest.mark.parametrize(
    ("pods", "workers"),
    [
        pytest.param([pod("head", ready=True), pod("submitter", ready=True)], "0/4", id="head and submitter are none"),
        pytest.param([pod(ready=True, workers=3)], "3/4", id="each rank of a pod counts"),
        pytest.param([pod(ready=True, workers=9)], "4/4", id="never more than there are"),
    ],
)
def test_the_workers_that_are_ready(pods: list[Object], workers: str) -> None:
    assert shown(ray_job(1, "Running"), *pods).summary == Summary(workers=workers)


def test_a_sentence_of_any_length_fits_the_status() -> None:
    long = condition("PodScheduled", "False", message="x" * 10_000)
    assert len(shown(ray_job(), pod(conditions=(long,))).message or "") == 4096


PENDING = pod(conditions=(UNSCHEDULED,))


def made_from(**spec: Any) -> Object:
    """The RayJob of an attempt that was made from such a profile."""
    created = plan(job(resources__workers=4), profile(**spec)).create
    assert created is not None
    return ray_job() | {"metadata": ray_job()["metadata"] | {"annotations": created["metadata"]["annotations"]}}


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        pytest.param({}, {}, False, id="as it was"),
        pytest.param({}, {"tolerations": [{"operator": "Exists"}]}, True, id="mended"),
        pytest.param({"worker": {"cpu": "2"}}, {}, False, id="with its default written out"),
        pytest.param({}, {"metadata": {}}, False, id="which cannot be read"),
    ],
)
def test_a_waiting_attempt_is_told_that_its_profile_has_changed(before: Object, now: Object, told: bool) -> None:
    """O17."""
    message = shown(made_from(**before), PENDING, profile(**now)).message
    said = (
        "; profile default has changed since this attempt was created from it; to use it as it is now, set spec.suspend"
        " to true, then to false"
    )
    assert (said in (message or "")) == told, message


def test_an_attempt_that_trains_is_not_told_of_its_profile() -> None:
    """O17."""
    running = made_from() | {"status": ray_job(deployment="Running", jobStatus="RUNNING")["status"]}
    status = shown(running, pod("head", ready=True), profile(image="other:2"))
    assert "has changed" not in (status.message or "")
