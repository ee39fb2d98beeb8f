"""What a profile may say: right ones, and ones that break a rule. The API server judges the same cases."""

import json
import re
from typing import Any

import pytest

from kubetune_api.manifest import read_manifest
from kubetune_api.selector import LabelSelector
from support.job_cases import KEYS_WRONG, PROFILE_RULES_BROKEN, PROFILES_RIGHT, PROFILES_WRONG, Case


def needs(key: str, operator: str, *values: str) -> dict[str, Any]:
    """A selector of one requirement."""
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize("case", PROFILES_RIGHT, ids=[case.what for case in PROFILES_RIGHT])
def test_a_right_profile_is_read(case: Case) -> None:
    manifest = read_manifest(json.dumps(case.manifest), "profile.json")
    assert manifest.errors == ()
    assert len(manifest.profiles) == 1


@pytest.mark.parametrize("case", PROFILE_RULES_BROKEN, ids=[case.what for case in PROFILE_RULES_BROKEN])
def test_a_broken_rule_is_told_at_its_field_with_a_remedy(case: Case) -> None:
    (error,) = read_manifest(json.dumps(case.manifest), "profile.json").errors
    assert error.path == case.field
    assert re.search("(; |, or )(give|remove|set|choose|add) ", error.message)


@pytest.mark.parametrize("case", PROFILES_WRONG, ids=[case.what for case in PROFILES_WRONG])
def test_a_field_that_no_pod_may_have_is_told_with_what_one_may_have(case: Case) -> None:
    """O6, O13."""
    (error,) = read_manifest(json.dumps(case.manifest), "profile.json").errors
    assert error.path == case.field
    assert re.search("give|add|quote it|shorten it|did you mean", error.message)


@pytest.mark.parametrize("case", KEYS_WRONG, ids=[case.what for case in KEYS_WRONG])
def test_a_key_that_is_none_is_told_with_what_a_key_is(case: Case) -> None:
    (error,) = read_manifest(json.dumps(case.manifest), "profile.json").errors
    assert error.path.startswith(f"{case.field}.")
    assert re.search("give the key of a label|the text is empty|shorten it", error.message)


LABELS = {"tier": "research", "team": "a"}


@pytest.mark.parametrize(
    ("selector", "picked"),
    [
        pytest.param({}, True, id="an empty one picks all"),
        pytest.param({"matchLabels": {"tier": "research"}}, True, id="a label"),
        pytest.param({"matchLabels": {"tier": "demo"}}, False, id="another value"),
        pytest.param({"matchLabels": {"tier": "research", "gpus": ""}}, False, id="a label that is not there"),
        pytest.param(needs("tier", "In", "demo", "research"), True, id="in"),
        pytest.param(needs("gpus", "In", ""), False, id="in without the label"),
        pytest.param(needs("tier", "NotIn", "demo"), True, id="not in"),
        pytest.param(needs("tier", "NotIn", "research"), False, id="not in, and it is"),
        pytest.param(needs("gpus", "NotIn", "yes"), True, id="not in without the label"),
        pytest.param(needs("team", "Exists"), True, id="exists"),
        pytest.param(needs("gpus", "Exists"), False, id="exists without the label"),
        pytest.param(needs("gpus", "DoesNotExist"), True, id="does not exist"),
        pytest.param(needs("team", "DoesNotExist"), False, id="does not exist, and it does"),
        pytest.param({"matchLabels": {"team": "b"}, **needs("team", "Exists")}, False, id="one of two"),
    ],
)
def test_a_selector_picks_by_labels_as_kubernetes_does(selector: dict[str, Any], picked: bool) -> None:
    assert (not LabelSelector.model_validate(selector).unmet(LABELS)) == picked
