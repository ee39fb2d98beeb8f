"""What a tenant may try with a manifest, with labels, and with the one ConfigMap that its runs write into."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from servers.control_plane import ControlPlane
from support.operator_process import GROUP, RAY, Operator, SimulatedJob, job_body, make_profile, settled

NewJob = Callable[[], SimulatedJob]


@pytest.fixture
def walled(plane: ControlPlane) -> str:
    """A profile that lets each namespace see its own prefix alone."""
    make_profile(plane, "walled", allowedUriPrefixes=["s3://shared/", "s3://tenants/{namespace}/"])
    return "walled"


def own(namespace: str, **more: Any) -> dict[str, Any]:
    return {
        "model": {"uri": "s3://shared/minilm"},
        "dataset": {"uri": f"s3://tenants/{namespace}/reviews.csv", "columns": {"text": "body", "label": "verdict"}},
        "output": {"uri": f"s3://tenants/{namespace}/models"},
        "profileRef": {"name": "walled"},
        **more,
    }


def test_a_tenant_reaches_its_own_data_and_no_other(new_job: NewJob, walled: str) -> None:
    job = new_job()
    job.apply(**own(job.namespace)).wait_until(lambda status: status.get("attempts"))
    columns = {"text": "body", "label": "verdict"}
    for uri in (
        "s3://tenants/team-b/secret.csv",
        f"s3://tenants/{job.namespace}-old/secret.csv",
        "s3://elsewhere/secret.csv",
    ):
        other = new_job()
        other.apply(**own(job.namespace, dataset={"uri": uri, "columns": columns}))
        refused = other.wait_for(reason="ProfileForbids")
        assert f"spec.dataset.uri: profile {walled} (allowedUriPrefixes)" in refused["message"]
        assert not other.ray_jobs()


@pytest.mark.parametrize(
    ("part", "value", "word"),
    [
        pytest.param("model", {"uri": "http://169.254.169.254/latest"}, "spec.model.uri", id="the metadata server"),
        pytest.param("model", {"uri": "s3:///etc/passwd"}, "spec.model.uri", id="a URI without a bucket"),
        pytest.param("output", {"uri": "s3://out/../other"}, "spec.output.uri", id="a path that climbs"),
        pytest.param("output", {"uri": "s3://key:secret@host/x"}, "spec.output.uri", id="credentials in a URI"),
        pytest.param("queueName", "a\nb: c", "spec.queueName", id="a label that breaks out of its line"),
        pytest.param("queueName", "x" * 64, "spec.queueName", id="a label that is too long"),
        pytest.param(
            "credentials",
            [{"prefix": "s3://", "secretName": "other/secret"}],
            "secretName",
            id="the Secret of another namespace",
        ),
        pytest.param("image", "evil:1", "image", id="an image of the tenant's own"),
        pytest.param("resources", {"serviceAccountName": "admin"}, "serviceAccountName", id="another ServiceAccount"),
    ],
)
def test_the_api_server_refuses_the_manifest(
    plane: ControlPlane, tenant: str, part: str, value: object, word: str
) -> None:
    answer = plane.create(f"{GROUP}/namespaces/{tenant}/finetunejobs", job_body("hostile", **{part: value}))
    assert not answer.accepted
    assert word in answer.message


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        pytest.param(
            {"resources": {"workers": 9}, "profileRef": {"name": "small"}}, "limits.maxWorkers", id="too many workers"
        ),
        pytest.param({"profileRef": {"name": "small"}}, "requiresQueue", id="a way past the quota"),
        pytest.param(
            {"profileRef": {"name": "others"}, "queueName": "q"},
            "(namespaceSelector)",
            id="the profile of other namespaces",
        ),
    ],
)
def test_the_profile_refuses_the_job_in_its_own_words(
    plane: ControlPlane, job: SimulatedJob, spec: dict[str, Any], word: str
) -> None:
    make_profile(plane, "small", limits={"maxWorkers": 8}, requiresQueue=True)
    make_profile(plane, "others", namespaceSelector={"matchLabels": {"team": "research"}})
    job.apply(**spec)
    refused = job.wait_for(reason="ProfileForbids")
    assert word in refused["message"]
    assert "startTime" not in refused
    assert not job.ray_jobs()


def test_the_pods_own_disk_is_refused_whatever_the_profile_says(job: SimulatedJob) -> None:
    """N3."""
    job.apply(dataset={"uri": "file:///etc/pass*", "columns": {"text": "a", "label": "b"}})
    refused = job.wait_for(reason="InvalidManifest")
    assert "spec.dataset.uri: in a cluster, file:// is the pod's own disk" in refused["message"]
    assert not job.ray_jobs()


def test_labels_and_annotations_of_a_job_do_not_reach_its_objects(plane: ControlPlane, job: SimulatedJob) -> None:
    body = job_body(job.name)
    body["metadata"]["labels"] = {"app": "stolen"}
    body["metadata"]["annotations"] = {"ray.io/external-storage-namespace": "x"}
    assert plane.create(job.path.rpartition("/")[0], body).accepted
    job.run_until_training()
    (ray_job,) = job.ray_jobs()
    assert "stolen" not in json.dumps({**ray_job["metadata"], "managedFields": None})
    assert "external-storage" not in json.dumps({**ray_job["metadata"], "managedFields": None})


def test_a_queue_named_by_a_label_is_refused(plane: ControlPlane, job: SimulatedJob) -> None:
    body = job_body(job.name)
    body["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "fast"}
    assert plane.create(job.path.rpartition("/")[0], body).accepted
    job.wait_for(reason="InvalidManifest")
    assert "set spec.queueName" in job.status["message"]


GARBAGE = [
    pytest.param("{", id="half a brace"),
    pytest.param("[" * 100_000, id="a hundred thousand brackets"),
    pytest.param("x" * 1_000_000, id="1 MB of text"),
    pytest.param('{"attempt": 1, "progress": {"step": 1e400, "totalSteps": 1, "epoch": 1}}', id="infinity"),
    pytest.param('{"attempt": 1, "progress": {"step": 1, "totalSteps": 1, "epoch": NaN}}', id="not a number"),
    pytest.param(
        '{"attempt": 1, "progress": {"step": %s, "totalSteps": 1, "epoch": 1}}' % ("9" * 300), id="a huge integer"
    ),
    pytest.param('{"attempt": 1, "unknown": true}', id="an unknown field"),
    pytest.param('{"attempt": 7, "finished": {"phase": "Succeeded"}}', id="an attempt that is not there"),
    pytest.param('{"attempt": 1, "doing": "\\ud800 \\u0000 \\u001b[31m"}', id="half a character and an escape"),
]


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_in_the_report_harms_nobody(new_job: NewJob, operator: Operator, text: str) -> None:
    job, neighbour = new_job(), new_job()
    job.apply()
    job.run_until_training()
    errors = operator.metric("kubetune_reconcile_errors_total")
    job.write_report(text)
    neighbour.apply().run_until_training()
    assert settled(1, lambda: operator.metric("kubetune_reconcile_errors_total")) == 0
    assert operator.metric("kubetune_reconcile_errors_total") == errors
    assert job.status["phase"] == "Running"
    job.say(progress={"step": 1, "totalSteps": 2, "epoch": 0.5})
    job.wait_for(reason="Training")


def test_a_report_cannot_claim_the_model_of_another(job: SimulatedJob) -> None:
    job.apply()
    job.run_until_training()
    result = job.success()
    result["artifact"]["uri"] = "s3://results/out/team-b/stolen/1/model"
    job.say(finished=result)
    job.wait_until(lambda status: status["attempts"][0].get("completionTime"))
    assert "artifact" not in job.status
    assert "is not below" in job.status["attempts"][0]["message"]


def test_a_head_may_write_its_report_and_nothing_else(plane: ControlPlane, job: SimulatedJob) -> None:
    job.apply()
    job.run_until_training()
    head = plane.as_service_account(job.namespace, "kubetune-head")
    uid = job.stored["metadata"]["uid"]
    core = f"/api/v1/namespaces/{job.namespace}"
    report = f"{core}/configmaps/{job.name}-{uid[:5]}-report"
    assert head.merge(report, {"data": {"report.json": "{}"}}).accepted
    for path in (
        f"{core}/configmaps",
        f"{core}/configmaps/{job.name}-{uid[:5]}-1",
        f"{core}/secrets",
        f"{core}/pods",
        job.path,
        f"{RAY}/namespaces/{job.namespace}/rayjobs",
        f"{GROUP}/finetuneprofiles",
    ):
        assert head.get(path).status == 403, path
    assert head.delete(report).status == 403
    worker = plane.as_service_account(job.namespace, "kubetune-worker")
    assert worker.get(report).status == 403
