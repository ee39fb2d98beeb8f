"""Two tenants at once: both get their models, and neither can read what is the other's, from inside its pods."""

import json
from collections.abc import Iterator

import pytest

from cluster.install import SECRET, Administrator
from support.e2e_jobs import RealJob, tiny_job

ASK = """
import json, os, ssl, sys, urllib.error, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
server = "https://" + os.environ["KUBERNETES_SERVICE_HOST"] + ":" + os.environ["KUBERNETES_SERVICE_PORT"]
token = open(folder + "/token").read() if os.path.exists(folder + "/token") else None
headers = {"Authorization": "Bearer " + token} if token else {}
codes = {}
for path in sys.argv[1:]:
    try:
        request = urllib.request.Request(server + path, headers=headers)
        codes[path] = urllib.request.urlopen(request, timeout=20, context=ssl._create_unverified_context()).status
    except urllib.error.HTTPError as error:
        codes[path] = error.code
print(json.dumps([token is not None, codes]))
"""
"""What a curious tenant would run: each path of the API server and the status that it answers with."""


@pytest.fixture(scope="module")
def jobs(admin: Administrator, assets: str) -> Iterator[tuple[RealJob, RealJob]]:
    """One job of each tenant, of the same name; both train, for as long as their pods are asked things."""
    spec = tiny_job(training={"epochs": 6, "globalBatchSize": 16})
    with admin.team("tenant-a") as team_a, admin.team("tenant-b") as team_b:
        first, second = (RealJob(admin, team, "same-name", spec).apply() for team in (team_a, team_b))
        first.training()
        second.training()
        yield first, second


def ask(job: RealJob, role: str, *paths: str) -> tuple[bool, dict[str, int]]:
    """Whether a pod of the job has a token, and what the API server answers it."""
    (pod, *_) = job.pods(role)
    said = job.admin.kubectl("exec", "--namespace", job.namespace, pod, "--", "python", "-c", ASK, *paths)
    has_token, codes = json.loads(said)
    return has_token, codes


def forbidden(mine: RealJob, other: RealJob) -> list[str]:
    core = "/api/v1/namespaces"
    return [
        f"{core}/{other.namespace}/secrets/{SECRET}",
        f"{core}/{other.namespace}/secrets",
        f"{core}/{other.namespace}/configmaps",
        *(f"{core}/{other.namespace}/configmaps/{name}" for name in other.names("configmaps")),
        f"/apis/kubetune.dev/v1alpha1/namespaces/{other.namespace}/finetunejobs",
        f"{core}/{mine.namespace}/secrets/{SECRET}",
        f"{core}/{mine.namespace}/configmaps",
        "/api/v1/secrets",
    ]


def test_a_head_reads_nothing_but_its_own_report(jobs: tuple[RealJob, RealJob]) -> None:
    for mine, other in (jobs, jobs[::-1]):
        (report,) = [name for name in mine.names("configmaps") if name.endswith("-report")]
        own = f"/api/v1/namespaces/{mine.namespace}/configmaps/{report}"
        has_token, codes = ask(mine, "head", own, *forbidden(mine, other))
        assert has_token
        assert codes.pop(own) == 200
        assert set(codes.values()) == {403}, codes


def test_a_worker_has_no_word_with_the_api_server(jobs: tuple[RealJob, RealJob]) -> None:
    for mine, other in (jobs, jobs[::-1]):
        has_token, codes = ask(mine, "worker", *forbidden(mine, other))
        assert not has_token
        assert set(codes.values()) <= {401, 403}, codes


def test_both_tenants_get_their_models(jobs: tuple[RealJob, RealJob]) -> None:
    for job in jobs:
        status = job.end()
        assert status["phase"] == "Succeeded", job.evidence()
        assert "manifest.json" in job.published()
