"""What happens to a job in mid-training: pods that are killed, suspension, deletion. Nothing is left behind."""

from collections.abc import Callable

import pytest

from cluster.install import Administrator
from support.chart import NAMESPACE
from support.e2e_jobs import RealJob, a_minute, long_job

NewJob = Callable[..., RealJob]


def test_the_operators_pods_may_die_while_a_job_trains(assets: str, admin: Administrator, new_job: NewJob) -> None:
    job = new_job("operator-dies", **a_minute()).apply()
    job.training()
    admin.kubectl("delete", "pods", "--namespace", NAMESPACE, "--all", "--force", "--grace-period", 0)
    status = job.end()
    assert status["phase"] == "Succeeded", job.evidence()
    assert len(status["attempts"]) == 1


# A pod that is deleted by force has a second or two all the same, in which a worker may have had its step saved.
@pytest.mark.parametrize(("role", "reasons"), [("worker", ("Unknown", "Interrupted")), ("head", ("Interrupted",))])
def test_the_attempt_that_follows_a_killed_pod_goes_on_from_the_last_checkpoint(
    assets: str, new_job: NewJob, role: str, reasons: tuple[str, ...]
) -> None:
    job = new_job(f"{role}-dies", **a_minute(retry={"maxAttempts": 2, "backoffSeconds": 1})).apply()
    step = job.saved()
    job.kill(role)
    status = job.end()
    assert status["phase"] == "Succeeded", job.evidence()
    first, second = status["attempts"]
    assert first["reason"] in reasons, first
    assert second["reason"] == "ModelPublished"
    assert second["resumedStep"] >= step > 0


@pytest.mark.parametrize("role", ["worker", "head"])
def test_a_pod_that_is_drained_has_the_step_saved_and_costs_nothing(assets: str, new_job: NewJob, role: str) -> None:
    job = new_job(f"{role}-drained", **a_minute(retry={"maxAttempts": 1, "backoffSeconds": 1})).apply()
    job.saved()
    job.drain(role)
    status = job.end()
    assert status["phase"] == "Succeeded", job.evidence()
    first, second = status["attempts"]
    assert first["exempt"], first
    assert second["reason"] == "ModelPublished"
    assert second["resumedStep"] >= first["lastStep"], "no step is done twice"


def test_a_head_that_goes_away_unheard_costs_an_attempt_too(assets: str, new_job: NewJob) -> None:
    job = new_job("head-unheard", **a_minute(retry={"maxAttempts": 2, "backoffSeconds": 1})).apply()
    job.training()
    # As where a network plugin drops the last packets of a pod: who submitted the run waits for ever.
    job.freeze("submitter")
    job.kill("head")
    status = job.end()
    assert status["phase"] == "Succeeded", job.evidence()
    first, second = status["attempts"]
    assert first["reason"] == "Interrupted", first
    assert "KubeRay has not ended the run" in first["message"], first
    assert second["reason"] == "ModelPublished"


def test_a_suspended_job_gives_its_pods_back_and_starts_again(assets: str, new_job: NewJob) -> None:
    job = new_job("suspended", **long_job()).apply()
    job.training()
    job.change(suspend=True)
    job.wait_for(lambda status: status["phase"] == "Suspended")
    job.wait_until_gone(job.pods)
    step = job.status["checkpoint"]["step"]
    job.change(suspend=False)
    status = job.wait_for(lambda status: status["phase"] == "Running" and status["attempts"][-1].get("resumedStep"))
    first, second = status["attempts"]
    assert second["resumedStep"] >= max(step, first["lastStep"]), "no step is done twice"


def test_a_deleted_job_leaves_nothing_in_its_namespace(assets: str, admin: Administrator, new_job: NewJob) -> None:
    job = new_job("deleted", **long_job()).apply()
    job.training()
    assert job.left()
    admin.kubectl("delete", "finetunejob", "--namespace", job.namespace, job.name, "--wait=false")
    job.wait_until_gone(job.left)
    assert admin.kubectl("get", "finetunejobs", "--namespace", job.namespace, "-o", "name") == ""
