import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_operator.machinery.differences import is_as_wanted, merge_patch, trimmed
from support.observed_jobs import Object, attempt, finished, job, plan, pod, ray_job, started, walk

SCALARS = st.booleans() | st.integers(2, 9) | st.text("ab", max_size=2)
"""Without 0 and 1, which Python takes as truths, and without null, which a merge patch cannot say."""
OBJECTS: st.SearchStrategy[Object] = st.recursive(
    st.dictionaries(st.sampled_from("abc"), SCALARS, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | SCALARS | st.lists(inner, max_size=2), max_size=3),
    max_leaves=6,
)


def patched(target: Any, patch: Any) -> Any:
    """RFC 7386, as the RFC writes it down."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_the_patch_makes_the_one_into_the_other(before: Object, after: Object) -> None:
    assert patched(before, merge_patch(before, after)) == after


@given(OBJECTS)
def test_between_equals_there_is_no_patch(thing: Object) -> None:
    assert merge_patch(thing, copy.deepcopy(thing)) == {}


@given(OBJECTS, OBJECTS)
def test_a_patch_is_empty_for_equals_alone(before: Object, after: Object) -> None:
    assert (merge_patch(before, after) == {}) == (before == after)


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        pytest.param({"phase": "Pending"}, {"phase": "Running"}, {"phase": "Running"}, id="a field that changes"),
        pytest.param({"progress": {"step": 1}}, {}, {"progress": None}, id="a field that goes"),
        pytest.param(
            {"progress": {"step": 1, "loss": 2.0}},
            {"progress": {"step": 2, "loss": 2.0}},
            {"progress": {"step": 2}},
            id="what stays is not sent",
        ),
        pytest.param(
            {"attempts": [{"number": 1}]},
            {"attempts": [{"number": 1}, {"number": 2}]},
            {"attempts": [{"number": 1}, {"number": 2}]},
            id="a list goes whole",
        ),
        pytest.param({"loss": 3}, {"loss": 3.0}, {}, id="a fraction that the server wrote as a whole number"),
    ],
)
def test_the_patch_of_a_status(before: Object, after: Object, patch: Object) -> None:
    assert merge_patch(before, after) == patch


STATUSES = [
    plan(job()).status.to_dict(),
    plan(job(started(attempt())), ray_job(1, "Running"), pod(ready=True)).status.to_dict(),
    finished("Failed", attempt(ended=9)),
]


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_the_law_holds_for_statuses(before: Object, after: Object) -> None:
    assert patched(before, merge_patch(before, after)) == after


def test_no_status_holds_a_null_which_no_patch_could_write() -> None:
    assert all(value is not None for status in STATUSES for _, value in walk(status))


WANTED = [*plan(job()).apply]


def as_served(wanted: Object) -> Object:
    """The object as the API server gives it back: with defaults, and what others added."""
    served = copy.deepcopy(wanted)
    served["metadata"] |= {"uid": "1", "resourceVersion": "9", "generation": 3, "annotations": {"team": "a"}}
    served["metadata"]["labels"]["argocd.argoproj.io/instance"] = "team-a"
    served["status"] = {"observed": True}
    return served


@pytest.mark.parametrize("wanted", WANTED, ids=lambda thing: f"{thing['kind']} {thing['metadata']['name']}")
def test_what_the_server_and_others_add_makes_no_difference(wanted: Object) -> None:
    assert is_as_wanted(trimmed(as_served(wanted)), wanted)


def test_what_is_not_there_is_not_as_wanted() -> None:
    assert not any(is_as_wanted(None, wanted) for wanted in WANTED)


@pytest.mark.parametrize("wanted", WANTED, ids=lambda thing: f"{thing['kind']} {thing['metadata']['name']}")
def test_any_value_that_somebody_changed_is_a_difference(wanted: Object) -> None:
    scalars = [path for path, value in walk(wanted) if not isinstance(value, dict | list)]
    for path in scalars:
        served = as_served(wanted)
        _set(served, path, "changed")
        assert not is_as_wanted(trimmed(served), wanted), path


@pytest.mark.parametrize(
    ("kind", "path", "key", "value"),
    [
        pytest.param("NetworkPolicy", ".spec.podSelector.matchLabels", "app", "none", id="a selector that is narrowed"),
        pytest.param("NetworkPolicy", ".spec.podSelector", "matchExpressions", [], id="a selector with expressions"),
        pytest.param(
            "NetworkPolicy", ".spec.egress.1.to.0", "namespaceSelector", {}, id="a peer that is all namespaces"
        ),
        pytest.param("Role", ".rules.0", "nonResourceURLs", ["/metrics"], id="a right that has more"),
    ],
)
def test_what_somebody_added_to_a_selector_a_peer_or_a_right_is_a_difference(
    kind: str, path: str, key: str, value: object
) -> None:
    """S7: what others add there changes whom it is about."""
    wanted = next(thing for thing in WANTED if thing["kind"] == kind)
    served = place = as_served(wanted)
    for step in _steps(served, path):
        place = place[step]
    place[key] = value
    assert not is_as_wanted(trimmed(served), wanted)


def test_a_rule_that_somebody_added_is_a_difference() -> None:
    role = next(thing for thing in WANTED if thing["kind"] == "Role")
    served = as_served(role)
    served["rules"].append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})
    assert not is_as_wanted(trimmed(served), role)


def test_data_that_the_head_reports_is_no_difference_of_its_config_map() -> None:
    reports = next(thing for thing in WANTED if thing["kind"] == "ConfigMap" and "data" not in thing)
    assert is_as_wanted(trimmed({**as_served(reports), "data": {"report.json": "{}"}}), reports)


def test_the_texts_of_a_config_map_are_kept_as_digests_alone() -> None:
    kept = trimmed({"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"run.json": "s" * 10_000}})
    assert len(kept["data"]["run.json"]) == 64
    assert kept != trimmed({"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"run.json": "t" * 10_000}})


def test_little_is_kept_of_a_config_map_that_a_tenant_filled_under_our_label() -> None:
    metadata = {"name": "x", "labels": {"app.kubernetes.io/managed-by": "kubetune"}}
    filled = {"data": dict.fromkeys(map(str, range(100_000)), ""), "binaryData": {"x": "A" * 1_000_000}}
    assert len(str(trimmed({"kind": "ConfigMap", "metadata": metadata, **filled}))) < 1000


@pytest.mark.parametrize("kind", ["ConfigMap", "NetworkPolicy", "Role", "ServiceAccount"])
def test_little_is_kept_of_any_object_whatever_a_tenant_wrote_into_it(kind: str) -> None:
    """S1: labels, owners, and the fields of the kind, a megabyte of each."""
    much = {f"key-{number}": "x" * 50 for number in range(20_000)}
    metadata = {
        "name": "x",
        "labels": much,
        "annotations": much,
        "ownerReferences": [{"uid": "1", "name": "x" * 1_000_000}] * 9,
    }
    thing = {"kind": kind, "metadata": metadata, "spec": much, "rules": [much], "data": much, "secrets": [much]}
    assert len(str(trimmed(thing))) < 10_000


@given(OBJECTS, OBJECTS)
def test_an_object_with_all_wanted_metadata_is_as_wanted(wanted: Object, more: Object) -> None:
    named = {"metadata": {"name": "x", "labels": wanted}}
    served = patched({"metadata": {"labels": more, "uid": "1"}}, named)
    assert is_as_wanted(trimmed(served), named)


def _set(thing: Any, path: str, value: object) -> None:
    *steps, last = _steps(thing, path)
    for step in steps:
        thing = thing[step]
    thing[last] = value


def _steps(thing: Any, path: str) -> list[Any]:
    """The keys of a path of `walk`, whose names may hold dots."""
    found: dict[str, list[Any]] = {"": []}
    for here, value in walk(thing):
        children: Any = (
            value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        )
        found |= {f"{here}.{key}": [*found[here], key] for key in children}
    return found[path]


def test_an_annotation_that_is_wanted_and_differs_is_seen_and_is_kept_as_its_digest() -> None:
    live = {"kind": "ConfigMap", "metadata": {"name": "a", "annotations": {"note": "x" * 1000, "other": "y"}}}
    wanted = {"kind": "ConfigMap", "metadata": {"name": "a", "annotations": {"note": "x" * 1000}}}
    assert is_as_wanted(trimmed(live), wanted)
    assert len(trimmed(live)["metadata"]["annotations"]["note"]) == 64
    wanted["metadata"]["annotations"]["note"] = "z"
    assert not is_as_wanted(trimmed(live), wanted)
