"""Jobs that cannot succeed: each ends with the right reason and a sentence that says what to do, and leaves nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cluster.install import Administrator
from support.e2e_jobs import RealJob, tiny_job


@dataclass(frozen=True)
class Case:
    """A job, what is wrong with it, and what its author reads."""

    name: str
    spec: dict[str, Any]
    reason: str
    says: str


CASES = (
    Case(
        "bad-column",
        {"dataset": {"uri": "s3://assets/tiny/rows.csv", "columns": {"text": "body", "label": "label"}}},
        "InvalidData",
        "body",
    ),
    Case(
        "too-much-wanted",
        {"evaluation": {"require": [{"metric": "test/accuracy", "min": 1.0}]}},
        "RequirementMissed",
        "test/accuracy",
    ),
    Case(
        "wrong-key",
        {"credentials": [{"prefix": "s3://", "secretName": "wrong"}]},
        "CredentialsRefused",
        "AWS_ACCESS_KEY_ID",
    ),
    Case(
        "no-such-image",
        {"resources": {"workers": 1}, "profileRef": {"name": "no-image"}},
        "ImagePullFailed",
        "no-such-image",
    ),
    Case(
        "too-small",
        {
            # There is no half of it, which another attempt would try.
            "training": {"globalBatchSize": 32, "microBatchSize": 1},
            "resources": {"workers": 1},
            "profileRef": {"name": "small"},
        },
        "OutOfMemory",
        "memory",
    ),
)


def make_what_is_wrong(admin: Administrator, team: str) -> None:
    """A Secret with keys that the S3 server does not know, and two profiles that nothing can run with."""
    admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "wrong", "namespace": team},
            "stringData": {"AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong"},
        }
    )
    admin.make_profile("no-image", image="localhost/no-such-image:1", imagePullPolicy="Never")
    admin.make_profile("small", worker={"cpu": "200m", "memory": "700Mi"}, sharedMemorySize="128Mi")


@pytest.fixture(scope="module")
def ended(admin: Administrator, assets: str) -> Iterator[dict[str, RealJob]]:
    """All of them at the same time, at their ends."""
    common = {"resources": {"workers": 1}, "retry": {"maxAttempts": 1}}
    with admin.team() as team:
        make_what_is_wrong(admin, team)
        jobs = {case.name: RealJob(admin, team, case.name, tiny_job(**{**common, **case.spec})) for case in CASES}
        for job in jobs.values():
            job.apply()
        for job in jobs.values():
            job.end()
        yield jobs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_job_that_cannot_succeed_says_why_and_leaves_nothing(
    ended: dict[str, RealJob], admin: Administrator, case: Case
) -> None:
    job = ended[case.name]
    status = job.status
    assert (status["phase"], status["reason"]) == ("Failed", case.reason), job.evidence()
    assert case.says in status["message"]
    described = admin.kubectl("describe", "finetunejob", "--namespace", job.namespace, job.name)
    assert case.reason in described
    assert case.says in described
    job.wait_until_gone(job.running_pods)
    manifests = [path for path in job.published() if path.endswith("manifest.json")]
    assert manifests == (["manifest.json"] if case.reason == "RequirementMissed" else [])
