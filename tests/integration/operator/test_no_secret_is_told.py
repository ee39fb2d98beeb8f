"""A job whose Secret holds a canary in every key: nothing that the operator makes, writes or serves shows one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.clients import RetryPolicy
from kubetune_trainer.storage.credentials import Secret
from kubetune_trainer.storage.store import Store
from servers.control_plane import ControlPlane
from servers.scripted import ScriptedServer
from support.canaries import KEYS, mounted, shows_a_secret
from support.operator_process import GROUP, RAY, Operator, SimulatedJob

CREDENTIALS = [{"prefix": prefix, "secretName": "canaries"} for prefix in ("s3://", "hf://")]
EVERYTHING = (
    f"{GROUP}/namespaces/{{}}/finetunejobs",
    f"{RAY}/namespaces/{{}}/rayjobs",
    f"{RAY}/namespaces/{{}}/rayclusters",
    "/api/v1/namespaces/{}/pods",
    "/api/v1/namespaces/{}/configmaps",
    "/api/v1/namespaces/{}/services",
    "/api/v1/namespaces/{}/serviceaccounts",
    "/apis/batch/v1/namespaces/{}/jobs",
    "/apis/events.k8s.io/v1/namespaces/{}/events",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
)
"""Where objects of a namespace are that the operator, KubeRay or Kubernetes make for a job."""


def refused_by_a_server_that_repeats_requests(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunError:
    """What the trainer says of credentials that are wrong."""
    with ScriptedServer(403, f"<Error><Code>{KEYS['AWS_ACCESS_KEY_ID']}</Code>{{request}}</Error>") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        with pytest.raises(RunError) as caught:
            Store.open("s3://results/out", RetryPolicy(retries=0), Secret("s3://", mounted(folder))).get("note")
    return caught.value


def test_no_key_of_a_jobs_secret_is_shown_by_anything_of_it(
    plane: ControlPlane,
    operator: Operator,
    new_job: Callable[[], SimulatedJob],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, failed = new_job(), new_job()
    secrets = f"/api/v1/namespaces/{done.namespace}/secrets"
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "canaries"}}
    assert plane.create(secrets, secret | {"stringData": KEYS}).accepted
    assert shows_a_secret(json.dumps(plane.get(f"{secrets}/canaries").body)), "it would be found"

    done.apply(credentials=CREDENTIALS)
    ray_id = done.run_until_training()
    assert "canaries" in json.dumps([pod["spec"]["volumes"] for pod in done.pods()]), "the pods have the Secret"
    failed.apply(credentials=CREDENTIALS, retry={"maxAttempts": 1})
    failed.run_until_training()
    error = refused_by_a_server_that_repeats_requests(tmp_path / "secret", monkeypatch)
    failed.say_failed(error.reason, error.message)
    done.say_succeeded()
    done.end_ray(ray_id)
    done.wait_for(phase="Succeeded")
    assert "refused the credentials" in failed.wait_for(phase="Failed")["message"]

    found = {path: json.dumps(plane.get(path.format(done.namespace)).body) for path in EVERYTHING}
    assert all('"items"' in body for body in found.values())
    assert '"Succeeded"' in found[EVERYTHING[8]], "the events are there"
    found |= {"the log": operator.log.read_text(), "the metrics": operator.get("/metrics") or ""}
    assert all(found.values())
    assert [where for where, text in found.items() if shows_a_secret(text)] == []
