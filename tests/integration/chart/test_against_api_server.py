"""What a real API server says to the objects of the chart, without keeping them."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from kubetune_api.crd import FOLDER
from kubetune_api.kinds import KINDS
from servers.kube import Answer, ApiServer
from support.chart import FULL_VALUES, NAMESPACE, Object, only, rendered

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
FOREIGN = "monitoring.coreos.com/v1"
"""Prometheus Operator's kinds, which this server does not have."""


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> ApiServer:
    """The API server with the project's kinds, and with the operator's namespace, as strict as can be."""
    for kind in KINDS.values():
        path = f"{DEFINITIONS}/{kind.plural}.kubetune.dev"
        assert api_server.apply(path, (FOLDER / kind.file).read_bytes()).accepted
        api_server.wait_for_condition(path, "Established")
    metadata = {"name": NAMESPACE, "labels": RESTRICTED}
    answer = api_server.apply(
        f"/api/v1/namespaces/{NAMESPACE}", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    )
    assert answer.accepted, answer.message
    return api_server


def path_of(cluster: ApiServer, thing: Object) -> str:
    """The path of an object, by what the server says of its kind."""
    version = thing["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    resources = cluster.get(root).body["resources"]
    (resource,) = (found for found in resources if found["kind"] == thing["kind"] and "/" not in found["name"])
    namespace = f"/namespaces/{thing['metadata']['namespace']}" if resource["namespaced"] else ""
    return f"{root}{namespace}/{resource['name']}/{thing['metadata']['name']}"


def judged(cluster: ApiServer, thing: Object) -> Answer:
    """What the server would say."""
    query = {"fieldManager": "helm", "fieldValidation": "Strict", "force": "true", "dryRun": "All"}
    text = yaml.safe_dump(thing).encode()
    return cluster.request("PATCH", path_of(cluster, thing), text, media="application/apply-patch+yaml", **query)


@pytest.mark.parametrize("values", [{}, FULL_VALUES], ids=["the defaults", "everything"])
def test_the_server_accepts_every_object_without_a_warning(cluster: ApiServer, values: Mapping[str, Any]) -> None:
    objects = [thing for thing in rendered(values) if thing["apiVersion"] != FOREIGN]
    answers = {f"{thing['kind']} {thing['metadata']['name']}": judged(cluster, thing) for thing in objects}
    assert len(answers) == len(objects) > 10
    assert {name: answer.message for name, answer in answers.items() if not answer.accepted} == {}
    assert {name: answer.warnings for name, answer in answers.items() if answer.warnings} == {}


def test_pod_security_admits_the_operator_at_its_strictest(cluster: ApiServer) -> None:
    template = only(rendered(), "Deployment")["spec"]["template"]
    metadata = {**template["metadata"], "name": "operator", "namespace": NAMESPACE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    answer = judged(cluster, pod)
    assert answer.accepted, answer.message
    # The same server refuses what it should.
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert "violates PodSecurity" in judged(cluster, pod).message


def test_a_profile_of_the_values_gets_the_defaults_of_the_kind(cluster: ApiServer) -> None:
    answer = judged(cluster, only(rendered(FULL_VALUES), "FineTuneProfile"))
    assert answer.body["spec"]["limits"] == {"maxWorkers": 8}
    assert answer.body["spec"]["accelerator"] == {"resourceName": "nvidia.com/gpu", "memory": "80Gi", "bf16": True}
