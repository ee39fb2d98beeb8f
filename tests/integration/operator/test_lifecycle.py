"""Every phase of a job on a real API server with the real KubeRay; the test simulates kubelet, Ray and trainer."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from servers.control_plane import ControlPlane
from support.operator_process import RAY, Operator, SimulatedJob, comes_to_rest, make_profile, settled

NewJob = Callable[[], SimulatedJob]


def tell(plane: ControlPlane, pod: dict[str, Any], message: str) -> None:
    """Writes an event of a pod as the kubelet does."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{name}."},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name},
        "type": "Warning",
        "reason": "Failed",
        "message": message,
        "source": {"component": "kubelet"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    answer = plane.create(f"/api/v1/namespaces/{namespace}/events", body)
    assert answer.accepted, answer.message


def condition(status: dict[str, object], kind: str) -> str:
    return next((found["status"] for found in status["conditions"] if found["type"] == kind), "absent")  # type: ignore[attr-defined,index]


def test_a_job_runs_through_every_phase_to_its_model(job: SimulatedJob, operator: Operator) -> None:
    job.apply(resources={"workers": 3})
    ray_id = job.run_until_training()
    started = job.status
    assert started["startTime"]
    assert (condition(started, "Accepted"), condition(started, "Admitted"), condition(started, "Ready")) == (
        "True",
        "True",
        "False",
    )
    job.wait_for(readyWorkers=3, workers=3)

    progress = {"step": 40, "totalSteps": 100, "epoch": 0.4, "loss": 0.5, "tokensPerSecond": 1000.0}
    job.say(progress=progress, doing="Training on 100 rows with 3 workers")
    training = job.wait_for(reason="Training", progress=progress)
    assert training["message"] == "Training on 100 rows with 3 workers"
    assert training["attempts"][0]["execution"] == 1

    job.say_succeeded()
    job.end_ray(ray_id)
    done = job.wait_for(phase="Succeeded")
    assert (condition(done, "Succeeded"), condition(done, "Ready"), condition(done, "Stalled")) == (
        "True",
        "True",
        "False",
    )
    assert done["metrics"] == [{"name": "test/accuracy", "value": 0.9}]
    assert done["artifact"]["uri"].endswith("/executions/1/model")
    assert done["observedGeneration"] == job.stored["metadata"]["generation"]
    assert len(job.ray_jobs()) == 1
    assert operator.metric("kubetune_jobs", namespace=job.namespace, phase="Succeeded") == 1


def test_pods_are_created_where_pod_security_enforces_restricted(job: SimulatedJob) -> None:
    job.apply(resources={"workers": 2}).run_until_training()
    roles = sorted(pod["metadata"]["labels"]["kubetune.dev/role"] for pod in job.pods())
    assert roles == ["head", "submitter", "worker", "worker"]
    for pod in job.pods():
        tokens = [volume for volume in pod["spec"]["volumes"] if "projected" in volume]
        assert bool(tokens) == (pod["metadata"]["labels"]["kubetune.dev/role"] == "head")
        containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in containers), "S10: KubeRay's own too"


def test_a_finished_job_is_left_alone(job: SimulatedJob, operator: Operator) -> None:
    job.apply()
    ray_id = job.run_until_training()
    job.say_succeeded()
    job.end_ray(ray_id)
    job.wait_until(lambda status: status.get("phase") == "Succeeded" and condition(status, "Admitted") == "False")
    assert not job.pods("worker"), "N10: its hardware is another's at once"
    version = job.stored["metadata"]["resourceVersion"]
    assert settled(3, lambda: operator.metric("kubetune_api_requests_total", verb="apply")) == 0
    assert job.stored["metadata"]["resourceVersion"] == version


def test_bad_data_fails_the_job_at_its_first_attempt_and_nothing_is_left_running(job: SimulatedJob) -> None:
    job.apply()
    ray_id = job.run_until_training()
    job.say_failed("InvalidData", "spec.dataset.columns.text: there is no column body; there are text, label")
    job.end_ray(ray_id, "FAILED")
    failed = job.wait_for(phase="Failed")
    assert (failed["reason"], len(failed["attempts"])) == ("InvalidData", 1)
    assert "there is no column body" in failed["message"]
    assert condition(failed, "Stalled") == "True"


def test_a_failed_attempt_is_followed_by_another_once_its_pods_are_gone(job: SimulatedJob) -> None:
    job.apply(retry={"maxAttempts": 2, "backoffSeconds": 0})
    job.run_until_training()
    job.kubelet.keeps_deleted = True
    try:
        job.say_failed("StorageFailed", "the store did not answer")
        waiting = job.wait_for(reason="CleaningUp")
        assert len(waiting["attempts"]) == 1
        assert job.pods()
    finally:
        job.kubelet.keeps_deleted = False
    ray_id = job.run_until_training(attempt=2)
    assert [ray_job["metadata"]["name"][-2:] for ray_job in job.ray_jobs()] == ["-2"]
    job.say_failed("StorageFailed", "the store did not answer", attempt=2)
    job.end_ray(ray_id, "FAILED")
    failed = job.wait_for(phase="Failed")
    assert failed["message"] == "the store did not answer (after 2 failed attempts)"


def test_a_worker_that_ran_out_of_memory_is_told_as_that_though_the_trainer_only_saw_it_die(job: SimulatedJob) -> None:
    job.apply()
    ray_id = job.run_until_training()
    job.kubelet.fail_for_memory(job.pods("worker")[0])
    job.wait_until(lambda status: status["attempts"][0].get("reason") == "OutOfMemory")
    job.say_failed("Unknown", "a worker process died")
    job.end_ray(ray_id, "FAILED")
    failed = job.wait_for(phase="Failed")
    assert failed["reason"] == "OutOfMemory"
    assert "spec.training.microBatchSize" in failed["message"]
    assert any("OOMKilled" in line for line in failed["attempts"][0]["evidence"])


def test_an_attempt_without_memory_is_followed_for_nothing_by_one_with_half_of_its_micro_batch(
    plane: ControlPlane, job: SimulatedJob
) -> None:
    job.apply(retry={"maxAttempts": 1, "backoffSeconds": 0}, training={"microBatchSize": 8})
    ray_id = job.run_until_training()
    took = {"workers": 1, "zeroStage": 0, "microBatchSize": 8}
    job.say(resolved=took)
    job.kubelet.fail_for_memory(job.pods("worker")[0])
    job.wait_until(lambda status: status["attempts"][0].get("reason") == "OutOfMemory")
    job.say(resolved=took, finished=job.failure("Unknown", "a worker process died"))
    job.end_ray(ray_id, "FAILED")
    job.run_until_training(attempt=2)
    first, second = job.status["attempts"]
    assert (first["exempt"], first["microBatchSize"], second["microBatchSize"]) == (True, 8, 4)
    assert job.status["resolved"]["microBatchSize"] == 4
    config = plane.get(f"/api/v1/namespaces/{job.namespace}/configmaps/{second['rayJob']}").body
    assert json.loads(config["data"]["run.json"])["job"]["spec"]["training"]["microBatchSize"] == 4
    events = plane.get(f"/apis/events.k8s.io/v1/namespaces/{job.namespace}/events").body["items"]
    assert any(event["reason"] == "MicroBatchHalved" for event in events)


def test_a_preempted_attempt_costs_nothing(job: SimulatedJob) -> None:
    job.apply(retry={"maxAttempts": 1, "backoffSeconds": 0})
    job.run_until_training()
    job.kubelet.remove(job.pods("head")[0], "Preempting", "Preempted in order to admit critical pod")
    # The operator ends what is left of the attempt, the submitter's pod included.
    job.wait_until(lambda status: status["attempts"][0].get("reason") == "Preempted")
    job.run_until_training(attempt=2)
    assert job.status["attempts"][0]["exempt"] is True


def test_an_evicted_attempt_that_has_saved_costs_nothing_and_the_next_one_goes_on(
    job: SimulatedJob, operator: Operator
) -> None:
    job.apply(training={"checkpoints": {"everySteps": 20}}, retry={"maxAttempts": 1, "backoffSeconds": 0})
    ray_id = job.run_until_training()
    for pod in (*job.pods("head"), *job.pods("worker")):
        assert pod["spec"]["terminationGracePeriodSeconds"] == 140
        assert "preStop" in pod["spec"]["containers"][0]["lifecycle"], "KubeRay leaves the hook as it is"
    step = {"totalSteps": 100, "epoch": 0.4}
    saved = {"step": 40, "time": "2026-01-01T00:00:00Z", "sizeBytes": 1000, "uploadSeconds": 30.0, "stallSeconds": 2.0}
    job.say(progress={"step": 43, **step}, checkpoint=saved)
    job.wait_until(lambda status: status.get("checkpoint", {}).get("step") == 40)
    own = {"namespace": job.namespace, "finetunejob": job.name}
    assert operator.metric("kubetune_job_checkpoint_stall_seconds", **own) == 2

    job.kubelet.remove(job.pods("worker")[0])
    job.wait_until(lambda status: status["attempts"][0].get("reason") == "Evicted")
    job.end_ray(ray_id, "FAILED")
    job.run_until_training(attempt=2)
    (grace,) = {pod["spec"]["terminationGracePeriodSeconds"] for pod in job.pods("worker")}
    assert 84 <= grace < 94, "twice what a save took, and twice a step by the real clock"
    job.say(2, progress={"step": 41, **step}, checkpoint={"step": 40, "resumedStep": 40})
    resumed = job.wait_until(lambda status: (status.get("progress") or {}).get("step") == 41)
    first, second = resumed["attempts"]
    assert (first["reason"], first["exempt"], first["lastStep"]) == ("Evicted", True, 43)
    assert second["resumedStep"] == 40
    assert resumed["checkpoint"]["uploadSeconds"] == 30
    events = f"/api/v1/namespaces/{job.namespace}/events"
    job.plane.wait_for(events, lambda told: "TrainingResumed" in [event["reason"] for event in told["items"]])
    assert operator.metric("kubetune_steps_lost_total", namespace=job.namespace) == 3


@pytest.mark.parametrize("told", [": not found", ""], ids=["by the node", "by an older node in events alone"])
def test_an_image_that_does_not_exist_ends_the_attempt_in_bounded_time(
    plane: ControlPlane, job: SimulatedJob, told: str
) -> None:
    with_hand, image = job.kubelet, '"kubetune-trainer:test"'
    with with_hand.held():
        job.apply()
        job.plane.wait_for(f"/api/v1/namespaces/{job.namespace}/pods", lambda found: len(found["items"]) >= 2)
        for pod in job.pods():
            tell(plane, pod, "Error: ErrImagePull")
            tell(plane, pod, f"Failed to pull image {image}: not found")
            with_hand.hold(pod, "ImagePullBackOff", f"Back-off pulling image {image}{told}")
        failed = job.wait_for(phase="Failed")
    assert failed["reason"] == "ImagePullFailed"
    assert "spec.image" in failed["message"]
    plane.wait_for(f"{RAY}/namespaces/{job.namespace}/rayjobs", lambda found: not found["items"])


def test_suspend_ends_the_attempt_and_resume_begins_the_next(job: SimulatedJob) -> None:
    job.apply()
    job.run_until_training()
    job.change(suspend=True)
    suspended = job.wait_for(phase="Suspended", message="suspended; set spec.suspend: false to resume")
    assert suspended["attempts"][0]["reason"] == "Suspended"
    assert not job.ray_jobs()
    assert not job.pods()
    job.change(suspend=False)
    job.run_until_training(attempt=2)
    assert condition(job.status, "Suspended") == "False"


def test_a_job_that_is_created_suspended_starts_when_it_is_resumed_and_may_be_mended_before(job: SimulatedJob) -> None:
    job.apply(suspend=True)
    job.wait_for(phase="Suspended")
    assert "startTime" not in job.status
    job.change(training={"epochs": 7})
    job.change(suspend=False)
    job.run_until_training()
    refusal = job.plane.merge(job.path, {"spec": {"training": {"epochs": 8}}})
    assert "spec is immutable once the run has started" in refusal.message


def test_a_deadline_ends_a_running_job(job: SimulatedJob) -> None:
    job.apply(activeDeadlineSeconds=2)
    job.run_until_training()
    failed = job.wait_for(phase="Failed")
    assert failed["reason"] == "DeadlineExceeded"
    job.plane.wait_for(f"{RAY}/namespaces/{job.namespace}/rayjobs", lambda found: not found["items"])


def test_what_a_finished_job_made_goes_after_its_time_and_does_not_come_back(job: SimulatedJob) -> None:
    job.apply(ttlSecondsAfterFinished=1)
    ray_id = job.run_until_training()
    job.say_succeeded()
    job.end_ray(ray_id)
    job.wait_for(phase="Succeeded")
    own = f"kubetune.dev/job-uid={job.stored['metadata']['uid']}"
    paths = [
        f"{RAY}/namespaces/{job.namespace}/rayjobs",
        f"/api/v1/namespaces/{job.namespace}/configmaps",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{job.namespace}/roles",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{job.namespace}/rolebindings",
    ]
    for path in paths:
        job.plane.wait_for(path, lambda found: not _of(found, own))
    time.sleep(2)
    for path in paths:
        assert not _of(job.plane.get(path).body, own)
    assert job.status["phase"] == "Succeeded"


def _of(found: dict[str, list[dict[str, dict[str, dict[str, str]]]]], label: str) -> list[object]:
    key, _, value = label.partition("=")
    return [thing for thing in found["items"] if thing["metadata"].get("labels", {}).get(key) == value]


def test_a_deleted_job_takes_everything_with_it_at_once(job: SimulatedJob, operator: Operator) -> None:
    job.apply()
    job.run_until_training()
    assert job.plane.delete(job.path).accepted
    for path in (f"{RAY}/namespaces/{job.namespace}/rayjobs", f"/api/v1/namespaces/{job.namespace}/pods"):
        job.plane.wait_for(path, lambda found: not found["items"])
    assert operator.metric("kubetune_jobs", namespace=job.namespace) == 0


def test_a_job_of_the_same_name_starts_anew(job: SimulatedJob) -> None:
    job.apply()
    job.run_until_training()
    first = job.stored["metadata"]["uid"]
    assert job.plane.delete(job.path).accepted
    job.apply()
    job.run_until_training()
    assert job.stored["metadata"]["uid"] != first
    assert len(job.status["attempts"]) == 1


def test_a_queue_holds_the_ray_job_back_and_the_operator_writes_nothing_meanwhile(
    job: SimulatedJob, operator: Operator
) -> None:
    make_profile(job.plane, "with-priorities", allowedPriorityClassNames=["high"])
    job.apply(queueName="team-a", priorityClassName="high", profileRef={"name": "with-priorities"})
    waiting = job.wait_until(lambda status: "Kueue" in status.get("message", ""))
    assert (waiting["phase"], waiting["reason"]) == ("Pending", "WaitingForQuota")
    assert "queue team-a" in waiting["message"]
    (ray_job,) = job.ray_jobs()
    assert ray_job["spec"]["suspend"] is True
    labels = ray_job["metadata"]["labels"]
    assert (labels["kueue.x-k8s.io/queue-name"], labels["kueue.x-k8s.io/priority-class"]) == ("team-a", "high")
    assert comes_to_rest(3, lambda: operator.metric("kubetune_api_requests_total", verb="patch"))
    path = f"{RAY}/namespaces/{job.namespace}/rayjobs/{ray_job['metadata']['name']}"
    assert job.plane.merge(path, {"spec": {"suspend": False}}).accepted
    job.run_until_training()


def test_a_changed_profile_leaves_what_runs_alone(plane: ControlPlane, job: SimulatedJob) -> None:
    make_profile(plane, "changing", image="first:1")
    job.apply(profileRef={"name": "changing"})
    job.run_until_training()
    before = job.ray_jobs()[0]
    make_profile(plane, "changing", image="second:1")
    time.sleep(2)
    after = job.ray_jobs()[0]
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    assert job.status["phase"] == "Running"


def test_a_job_without_its_profile_waits_and_starts_when_it_comes(plane: ControlPlane, job: SimulatedJob) -> None:
    job.apply(profileRef={"name": f"later-{job.name}"})
    refused = job.wait_for(reason="ProfileNotFound")
    assert (refused["phase"], condition(refused, "Stalled")) == ("Pending", "True")
    make_profile(plane, f"later-{job.name}")
    job.run_until_training()


def test_a_job_waits_for_a_node_with_the_schedulers_words(plane: ControlPlane, job: SimulatedJob) -> None:
    make_profile(plane, "gpus", accelerator={"resourceName": "nvidia.com/gpu", "memory": "80Gi"}, workersPerPod=8)
    job.apply(profileRef={"name": "gpus"}, resources={"workers": 800})
    waiting = job.wait_for(reason="WaitingForNodes")
    assert "Insufficient" in waiting["message"]


def test_what_a_job_needs_is_made_again_when_somebody_deletes_it(job: SimulatedJob) -> None:
    job.apply()
    job.run_until_training()
    uid = job.stored["metadata"]["uid"]
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{job.namespace}/roles/{job.name}-{uid[:5]}-report"
    before = job.plane.get(path).body["metadata"]["uid"]
    assert job.plane.delete(path).accepted
    job.plane.wait_for(path, lambda role: role["metadata"]["uid"] != before)
    policy = f"/apis/networking.k8s.io/v1/namespaces/{job.namespace}/networkpolicies/kubetune-default-pods"
    assert job.plane.merge(policy, {"spec": {"egress": [{}]}}).accepted
    job.plane.wait_for(policy, lambda found: {} not in found["spec"]["egress"])
