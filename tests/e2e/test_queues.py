"""Kueue with a quota for one job at a time: who waits says for what, who is more important goes first."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.install import KUEUE, Administrator
from support.e2e_jobs import RealJob, tiny_job

API = "kueue.x-k8s.io/v1beta2"
QUOTA = {"cpu": "4", "memory": "9Gi", "ephemeral-storage": "100Gi"}
"""Enough for a head, a worker and a submitter, and not for two of each."""
KINDS = "localqueues.kueue.x-k8s.io,clusterqueues.kueue.x-k8s.io,resourceflavors.kueue.x-k8s.io"


def kueue(kind: str, name: str, spec: dict[str, Any], namespace: str | None = None) -> dict[str, Any]:
    """An object of Kueue's."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, **spec}


@pytest.fixture(scope="module")
def teams(admin: Administrator, assets: str) -> Iterator[tuple[str, str]]:
    """Two teams, each with a LocalQueue, and one quota for both. Kueue is there for these tests alone."""
    flavor = {"name": "node", "resources": [{"name": key, "nominalQuota": value} for key, value in QUOTA.items()]}
    quota = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": list(QUOTA), "flavors": [flavor]}],
    }
    with admin.team("queue-a") as team_a, admin.team("queue-b") as team_b:
        names = team_a, team_b
        try:
            admin.install_kueue()
            admin.apply_once_taken(
                kueue("ResourceFlavor", "node", {"spec": {}}),
                kueue("ClusterQueue", "one-job", {"spec": quota}),
                kueue("WorkloadPriorityClass", "urgent", {"value": 1000, "description": "goes first"}),
                *(kueue("LocalQueue", "jobs", {"spec": {"clusterQueue": "one-job"}}, name) for name in names),
            )
            yield names
        finally:
            for name in names:
                admin.kubectl("delete", "finetunejobs", "--all", "--namespace", name, "--timeout", "60s")
                admin.kubectl("delete", "rayjobs", "--all", "--namespace", name, "--timeout", "60s")
            admin.kubectl("delete", KINDS, "--all", "--all-namespaces", "--timeout", "60s", check=False)
            admin.remove(KUEUE)


def job_of(admin: Administrator, team: str, name: str, epochs: int, **spec: Any) -> RealJob:
    """A job for the queue, with one worker; begun. An epoch is a hundred steps."""
    training = {"epochs": epochs, "globalBatchSize": 16}
    more = {"training": training, "resources": {"workers": 1}, "queueName": "jobs", **spec}
    return RealJob(admin, team, name, tiny_job(**more)).apply()


def waits_for_quota(job: RealJob) -> bool:
    return bool(job.status.get("reason") == "WaitingForQuota")


def versions(job: RealJob) -> tuple[str, str]:
    """Those of the job and of its RayJob: each write makes new ones."""
    (ray_job,) = job.made("rayjobs")
    return job.stored["metadata"]["resourceVersion"], ray_job["metadata"]["resourceVersion"]


def test_the_quota_admits_one_job_at_a_time_and_the_more_important_one_first(
    admin: Administrator, teams: tuple[str, str]
) -> None:
    team_a, team_b = teams
    first = job_of(admin, team_a, "first", epochs=20)
    first.training()

    second = job_of(admin, team_b, "second", epochs=10)
    status = second.wait_for(lambda status: status.get("reason") == "WaitingForQuota")
    assert "queue jobs" in status["message"]
    assert "quota" in status["message"]
    assert second.pods() == {}
    # Nothing is written while Kueue holds it back, by nobody.
    time.sleep(5)
    before = versions(second)
    time.sleep(20)
    assert waits_for_quota(second)
    assert versions(second) == before

    assert first.end()["phase"] == "Succeeded", first.evidence()
    second.training()

    admin.make_profile("urgent", allowedPriorityClassNames=["urgent"])
    urgent = job_of(admin, team_a, "urgent", epochs=1, priorityClassName="urgent", profileRef={"name": "urgent"})
    second.wait_for(lambda status: status.get("reason") == "WaitingForQuota")
    second.wait_until_gone(second.running_pods)
    assert urgent.end()["phase"] == "Succeeded", urgent.evidence()
    status = second.end()
    assert status["phase"] == "Succeeded", second.evidence()
    assert len(status["attempts"]) == 1
