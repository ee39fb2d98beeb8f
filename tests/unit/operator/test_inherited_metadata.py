"""Labels and annotations of profile and job reach what a job makes, within what the profile allows."""

from typing import Any

import pytest

from kubetune_api.reasons import Reason
from support.observed_jobs import job, plan, profile

ALLOWED = {"allowedInheritedMetadata": {"labels": ["cost-center", "example.com/"], "annotations": ["note"]}}
OURS = {"inheritedMetadata": {"labels": {"tier": "gpu"}, "annotations": {"owner": "platform"}}}
ITS = {"labels": {"cost-center": "nlp", "example.com/team": "a"}, "annotations": {"note": "A word."}}


def made(its: dict[str, Any], **of_profile: Any) -> list[dict[str, Any]]:
    """The metadata of all that should get it: RayJob, its pods, and all that the job owns."""
    wanted = plan(job(inheritedMetadata=its), profile(**of_profile))
    assert wanted.create is not None, wanted.status.message
    spec = wanted.create["spec"]
    cluster = spec["rayClusterSpec"]
    pods = [spec["submitterPodTemplate"], cluster["headGroupSpec"]["template"]]
    pods += [group["template"] for group in cluster["workerGroupSpecs"]]
    owned = [obj for obj in wanted.apply if "ownerReferences" in obj["metadata"]]
    assert sorted(obj["kind"] for obj in owned) == ["ConfigMap", "ConfigMap", "Role", "RoleBinding"]
    return [obj["metadata"] for obj in (wanted.create, *pods, *owned)]


def test_what_profile_and_job_add_is_on_every_object_beside_kubetunes_own() -> None:
    """O5."""
    for metadata in made(ITS, **ALLOWED, **OURS):
        assert metadata["labels"].items() >= {"tier": "gpu", "cost-center": "nlp", "example.com/team": "a"}.items()
        assert metadata["annotations"].items() >= {"owner": "platform", "note": "A word."}.items()
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "kubetune"


def test_the_profiles_own_counts_before_the_jobs() -> None:
    ours = {"inheritedMetadata": {"labels": {"cost-center": "shared"}}}
    assert {
        metadata["labels"]["cost-center"] for metadata in made({"labels": {"cost-center": "mine"}}, **ALLOWED, **ours)
    } == {"shared"}


@pytest.mark.parametrize(
    ("its", "of_profile", "said"),
    [
        pytest.param(
            {"labels": {"cost-center": "nlp"}},
            {},
            "spec.inheritedMetadata.labels: profile default (allowedInheritedMetadata.labels) allows none",
            id="none by default",
        ),
        pytest.param({"labels": {"example.com": "a"}}, ALLOWED, "allows cost-center, example.com/", id="a domain"),
        pytest.param({"annotations": {"cost-center": "a"}}, ALLOWED, "annotations) allows note", id="the other kind"),
    ],
)
def test_what_the_profile_does_not_allow_is_refused(its: dict[str, Any], of_profile: dict[str, Any], said: str) -> None:
    refused = plan(job(inheritedMetadata=its), profile(**of_profile)).status
    assert refused.reason == Reason.PROFILE_FORBIDS
    assert said in (refused.message or "")
