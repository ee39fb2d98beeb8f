"""What a profile may say: right ones, and ones that break a rule. The API server judges the same cases."""

import json

import pytest

from kubetune_api.manifest import read_manifest
from support.job_cases import PROFILE_RULES_BROKEN, PROFILES_RIGHT, Case


@pytest.mark.parametrize("case", PROFILES_RIGHT, ids=[case.what for case in PROFILES_RIGHT])
def test_a_right_profile_is_read(case: Case) -> None:
    manifest = read_manifest(json.dumps(case.manifest), "profile.json")
    assert manifest.errors == ()
    assert len(manifest.profiles) == 1


@pytest.mark.parametrize("case", PROFILE_RULES_BROKEN, ids=[case.what for case in PROFILE_RULES_BROKEN])
def test_a_broken_rule_is_told_at_its_field_with_a_remedy(case: Case) -> None:
    (error,) = read_manifest(json.dumps(case.manifest), "profile.json").errors
    assert error.path == case.field
    assert "too little for Ray's object store" in error.message
    assert "give 100Mi or more" in error.message
