"""What a real API server says to the CRDs and to jobs, and that the models say the same."""

import json
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_api.base import ApiModel, rules_of
from kubetune_api.crd import FOLDER, definition
from kubetune_api.errors import FieldError
from kubetune_api.job import FineTuneJob
from kubetune_api.kinds import KINDS
from kubetune_api.manifest import read_manifest
from kubetune_api.profile import FineTuneProfile
from kubetune_api.tasks import TASKS
from servers.kube import Answer, ApiServer
from support.job_cases import (
    JOB,
    KEYS_WRONG,
    NAMES_WRONG,
    PROFILE,
    PROFILE_RULES_BROKEN,
    PROFILES_RIGHT,
    PROFILES_WRONG,
    RIGHT,
    RULES_BROKEN,
    WRONG,
    Case,
    ProfileCase,
    edited,
    yaml_blocks,
)
from support.more_rows import more_rows
from support.observed_jobs import job, plan

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
JOBS = "/apis/kubetune.dev/v1alpha1/namespaces/default/finetunejobs"
PROFILES = "/apis/kubetune.dev/v1alpha1/finetuneprofiles"
NOW = "2026-01-31T12:00:00Z"


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> ApiServer:
    """The API server with the CRDs of the repository."""
    for kind in KINDS.values():
        path = f"{DEFINITIONS}/{kind.plural}.kubetune.dev"
        answer = api_server.apply(path, yaml.safe_load((FOLDER / kind.file).read_text()))
        assert answer.accepted, answer.message
        assert not answer.warnings
        api_server.wait_for_condition(path, "Established")
    return api_server


def judged_by_server(cluster: ApiServer, manifest: dict[str, Any]) -> Answer:
    """What the server would say, without keeping the job or the profile."""
    return cluster.create(PROFILES if manifest["kind"] == "FineTuneProfile" else JOBS, manifest, dryRun="All")


def judged_by_models(manifest: dict[str, Any]) -> tuple[FieldError, ...]:
    """The errors that `kubetune validate` would report."""
    return read_manifest(json.dumps(manifest), "manifest.json").errors


def as_stored(profile: dict[str, Any]) -> dict[str, Any]:
    """The profile as the operator sees it, for every namespace and URI."""
    bounds = ("namespaceSelector", "allowedUriPrefixes")
    spec = {name: part for name, part in profile["spec"].items() if name not in bounds}
    return {**profile, "metadata": {"name": "default", "uid": "0", "resourceVersion": "1"}, "spec": spec}


def each(cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.what for case in cases])


@pytest.mark.parametrize("plural", [kind.plural for kind in KINDS.values()])
def test_a_definition_has_a_structural_schema_and_accepted_names(cluster: ApiServer, plural: str) -> None:
    status = cluster.get(f"{DEFINITIONS}/{plural}.kubetune.dev").body["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_the_price_of_the_rules_leaves_room_for_forty_tasks(cluster: ApiServer) -> None:
    row = TASKS["SequenceClassification"]
    with more_rows(TASKS, **{f"TaskOfTheFuture{number}": row for number in range(40 - len(TASKS))}):
        assert len(TASKS) == 40
        wider = definition(KINDS["FineTuneJob"])
    # In a group of its own, beside the one that is there.
    wider = json.loads(json.dumps(wider).replace("kubetune.dev", "wider.kubetune.dev"))
    answer = cluster.create(DEFINITIONS, wider, dryRun="All")
    assert answer.accepted, answer.message


def test_the_server_fills_in_the_defaults_that_the_models_have(cluster: ApiServer) -> None:
    answer = judged_by_server(cluster, JOB)
    assert answer.body["spec"] == FineTuneJob.model_validate(JOB).spec.to_dict()


@each((*RIGHT, *PROFILES_RIGHT))
def test_what_is_right_is_accepted_by_both(cluster: ApiServer, case: Case) -> None:
    answer = judged_by_server(cluster, case.manifest)
    assert answer.accepted, answer.message
    assert not answer.warnings
    assert not judged_by_models(case.manifest)


@each((*WRONG, *PROFILES_WRONG))
def test_a_wrong_field_is_refused_by_both(cluster: ApiServer, case: Case) -> None:
    answer = judged_by_server(cluster, case.manifest)
    assert not answer.accepted
    assert case.field in answer.message
    assert case.field in {error.path for error in judged_by_models(case.manifest)}


@each(KEYS_WRONG)
def test_a_wrong_key_of_a_map_is_refused_by_both(cluster: ApiServer, case: Case) -> None:
    answer = judged_by_server(cluster, case.manifest)
    assert f"{case.field}: Invalid value" in answer.message
    assert "each key must be the key of a label" in answer.message
    assert all(error.path.startswith(f"{case.field}.") for error in judged_by_models(case.manifest))


@each(NAMES_WRONG)
def test_a_wrong_name_is_refused_by_both(cluster: ApiServer, case: Case) -> None:
    answer = judged_by_server(cluster, case.manifest)
    assert "metadata.name is at most 37 lowercase letters" in answer.message
    assert case.field in {error.path for error in judged_by_models(case.manifest)}


@each((*RULES_BROKEN, *PROFILE_RULES_BROKEN))
def test_a_broken_rule_is_reported_by_both_at_the_same_field_in_the_same_words(cluster: ApiServer, case: Case) -> None:
    errors = judged_by_models(case.manifest)
    assert case.field in {error.path for error in errors}
    causes = judged_by_server(cluster, case.manifest).body["details"]["causes"]
    # Ours end with the value, where there is one; the server's begin with "Invalid value: ".
    said = {(error.path, error.message.partition(" (given: ")[0]) for error in errors}
    assert {(cause["field"], cause["message"].partition(": ")[2]) for cause in causes} == said


def test_every_rule_has_a_case_that_breaks_it() -> None:
    broken = {
        (re.sub(r"\[\d+\]", "", error.path), error.message.partition(" (given: ")[0])
        for case in (*RULES_BROKEN, *PROFILE_RULES_BROKEN, *WRONG)
        for error in judged_by_models(case.manifest)
    }
    assert {*rules_below(FineTuneJob), *rules_below(FineTuneProfile)} - broken == set()


def rules_below(model: type[ApiModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Where each rule of the model and of the models in it is reported, and its sentence."""
    for rule in rules_of(model):
        yield ".".join(filter(None, (path.strip("."), rule.field))), rule.message
    for field in model.model_fields.values():
        for below in models_in(field.annotation):
            yield from rules_below(below, f"{path}.{field.alias}")


def models_in(annotation: Any) -> Iterator[type[ApiModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from models_in(part)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.lists(st.sampled_from([*RIGHT, *WRONG, *RULES_BROKEN, *NAMES_WRONG]), min_size=2, max_size=4))
def test_whatever_is_put_together_both_agree_whether_it_is_right(cluster: ApiServer, cases: list[Case]) -> None:
    manifest = edited({path: value for case in cases for path, value in case.edits.items()})
    answer = judged_by_server(cluster, manifest)
    assert answer.accepted == (not judged_by_models(manifest)), answer.message


QUANTITIES = st.one_of(
    st.integers(-5, 2**40),
    st.from_regex(
        r"[+-]?(0|[1-9][0-9]{0,12})?[.]?[0-9]{0,3}([KMGTPE]i|[numkMGTPEKi]|[eE][+-]?[0-9]{0,2})?", fullmatch=True
    ),
)
DOMAINS = st.from_regex(r"[a-zA-Z0-9.-]{1,6}(/[a-zA-Z0-9._-]{0,5})?", fullmatch=True)
RANGES = st.one_of(
    st.from_regex(r"[0-9]{1,3}([.][0-9]{1,3}){2,4}/[0-9]{1,2}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{0,4}(:[0-9a-f]{0,4}){1,4}/[0-9]{1,3}", fullmatch=True),
    st.ip_addresses().map(lambda address: f"{address}/{address.max_prefixlen}"),
)


@settings(deadline=None, max_examples=400, derandomize=True)
@given(memory=QUANTITIES, shared=QUANTITIES, cpu=QUANTITIES, key=DOMAINS, cidr=RANGES)
def test_of_a_profile_both_think_the_same(
    cluster: ApiServer, memory: object, shared: object, cpu: object, key: str, cidr: str
) -> None:
    """O6, O13: one field at a time, so that no error hides another."""
    for edits in (
        {"spec.head.memory": memory},
        {"spec.sharedMemorySize": shared, "spec.head.memory": "4096Gi"},
        {"spec.worker.cpu": cpu},
        {"spec.tolerations": [{"key": key}]},
        {"spec.accelerator": {"resourceName": key, "memory": "1Gi"}},
        {"spec.nodeSelector": {key: "a"}},
        {"spec.egress": [{"cidr": cidr, "ports": [443]}]},
    ):
        profile = edited(edits, PROFILE)
        answer = judged_by_server(cluster, profile)
        assert answer.accepted == (not judged_by_models(profile)), (edits, answer.message)


RECIPES = tuple(
    ProfileCase(profile["metadata"]["name"], {"spec": profile["spec"]})
    for profile in map(yaml.safe_load, yaml_blocks((FOLDER.parent / "docs" / "profiles.md").read_text("utf-8")))
)
"""The profiles of the page on them."""
PODS, POLICIES = "/api/v1/namespaces/default/pods", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"


@each((*PROFILES_RIGHT, *RECIPES))
def test_the_pods_and_policies_of_a_right_profile_are_such_as_kubernetes_takes(cluster: ApiServer, case: Case) -> None:
    """O6: what passes our rules, and the rendering, passes Kubernetes' own validation, for the most workers too."""
    profile = as_stored(case.manifest)
    workers = profile["spec"].get("limits", {}).get("maxWorkers", 2)
    wanted = plan(job(resources__workers=workers), profile)
    assert wanted.create is not None, wanted.status.message
    spec = wanted.create["spec"]
    groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    for number, template in enumerate([spec["submitterPodTemplate"], *(group["template"] for group in groups)]):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            **template,
            "metadata": {**template["metadata"], "name": f"pod-{number}"},
        }
        pod["spec"] = {**pod["spec"], "serviceAccountName": "default"}
        answer = cluster.create(PODS, pod, dryRun="All")
        assert answer.accepted or "serviceaccount" in answer.message, answer.message
        assert not answer.warnings
    for policy in (thing for thing in wanted.apply if thing["kind"] == "NetworkPolicy"):
        body = {**policy, "metadata": {**policy["metadata"], "namespace": "default"}}
        answer = cluster.create(POLICIES, body, dryRun="All")
        assert answer.accepted, answer.message
        assert not answer.warnings


def test_the_spec_is_fixed_once_the_run_has_started(cluster: ApiServer) -> None:
    job = edited({"metadata.name": "fixed"})
    path = f"{JOBS}/fixed"
    assert cluster.create(JOBS, job).accepted
    assert cluster.merge(path, {"spec": {"training": {"epochs": 4}}}).accepted
    assert cluster.merge(f"{path}/status", {"status": {"startTime": NOW}}).accepted

    for change in ({"training": {"epochs": 5}}, {"training": {"maxSteps": 9}}, {"zero": {"stage": 1}}):
        refusal = cluster.merge(path, {"spec": change})
        assert refusal.status == 422
        assert "spec is immutable once the run has started" in refusal.message
    assert cluster.merge(path, {"metadata": {"labels": {"team": "a"}}}).accepted
    assert cluster.merge(f"{path}/status", {"status": {"phase": "Running"}}).accepted
    assert cluster.merge(path, {"spec": {"suspend": True, "ttlSecondsAfterFinished": 60}}).accepted
    assert cluster.merge(path, {"spec": {"ttlSecondsAfterFinished": None}}).accepted


def test_a_field_that_was_set_can_no_more_be_taken_out_than_changed(cluster: ApiServer) -> None:
    path = f"{JOBS}/taken-out"
    assert cluster.create(JOBS, edited({"metadata.name": "taken-out", "spec.zero.stage": 1})).accepted
    assert cluster.merge(f"{path}/status", {"status": {"startTime": NOW}}).accepted
    assert "spec is immutable" in cluster.merge(path, {"spec": {"zero": {"stage": None}}}).message


def test_status_is_written_through_its_own_path_alone(cluster: ApiServer) -> None:
    job = edited({"metadata.name": "its-own-path", "status.startTime": NOW})
    assert cluster.create(JOBS, job).accepted
    assert "status" not in cluster.get(f"{JOBS}/its-own-path").body


def test_an_unknown_field_is_pruned_where_the_client_does_not_ask_for_strictness(cluster: ApiServer) -> None:
    job = edited({"metadata.name": "pruned", "spec.training.epoch": 3})
    answer = cluster.request("POST", JOBS, job)
    assert answer.accepted
    assert answer.warnings == ('unknown field "spec.training.epoch"',)
    assert "epoch" not in answer.body["spec"]["training"]


def test_kubectl_get_shows_the_columns_of_a_finished_job(cluster: ApiServer) -> None:
    assert cluster.create(JOBS, edited({"metadata.name": "shown", "spec.resources.workers": 2})).accepted
    status = {
        "phase": "Succeeded",
        "reason": "ModelPublished",
        "summary": {"progress": "9/10", "metric": "test/accuracy 0.875", "workers": "2/2"},
        "attempts": [
            {"number": number, "rayJob": f"shown-1-{number}", "startTime": NOW, "evidence": [], "exempt": False}
            for number in (1, 2)
        ],
        "progress": {"step": 9, "totalSteps": 10, "epoch": 2.7, "loss": 0.25},
        "metrics": [{"name": "test/accuracy", "value": 0.875}],
    }
    assert cluster.merge(f"{JOBS}/shown/status", {"status": status}).accepted
    table = cluster.get(f"{JOBS}/shown", accept="application/json;as=Table;v=v1;g=meta.k8s.io").body
    names = [column["name"] for column in table["columnDefinitions"]]
    shown = dict(zip(names, table["rows"][0]["cells"], strict=True))
    expected = {
        "Name": "shown",
        "Phase": "Succeeded",
        "Reason": "ModelPublished",
        "Progress": "9/10",
        "Metric": "test/accuracy 0.875",
        "Workers": "2/2",
        "Loss": 0.25,
        "Attempt": 2,
    }
    assert {name: shown[name] for name in expected} == expected


def test_a_status_of_a_newer_operator_is_taken(cluster: ApiServer) -> None:
    assert cluster.create(JOBS, edited({"metadata.name": "newer"})).accepted
    condition = {"type": "Thrilled", "status": "True", "reason": "New", "message": "!", "lastTransitionTime": NOW}
    status = {"phase": "Evaluating", "conditions": [condition]}
    assert cluster.merge(f"{JOBS}/newer/status", {"status": status}).accepted


def test_a_profile_is_accepted_without_a_namespace(cluster: ApiServer) -> None:
    profile = {
        "apiVersion": "kubetune.dev/v1alpha1",
        "kind": "FineTuneProfile",
        "metadata": {"name": "laptop"},
        "spec": {"allowedUriPrefixes": ["file:///"], "limits": {"maxWorkers": 2}},
    }
    answer = cluster.create(PROFILES, profile)
    assert answer.accepted, answer.message
    assert "unknown field" in cluster.create(PROFILES, {**profile, "spec": {"limit": 1}}).message
    assert (
        "must be of type integer"
        in cluster.create(PROFILES, {**profile, "spec": {"limits": {"maxWorkers": "2"}}}).message
    )
