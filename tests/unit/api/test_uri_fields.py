"""Every URI of a job is found by the type of its field: what a profile allows is judged over all of them."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from kubetune_api.base import ApiModel
from kubetune_api.job import FineTuneJob, FineTuneJobSpec
from kubetune_api.job.names import OutputUri, SourceUri
from kubetune_api.profile import FineTuneProfile
from kubetune_api.uris import UriField, Use, resolve_relative_uris, uri_fields
from kubetune_api.violations import violations
from support.job_cases import JOB, PROFILE, edited


class _Teacher(ApiModel):
    uri: SourceUri
    adapters: list[SourceUri] = Field([])


class _WiderSpec(FineTuneJobSpec):
    """As a later version may have it."""

    teacher: _Teacher | None = None
    teachers: list[_Teacher] = Field([])
    copies: Annotated[dict[str, OutputUri] | None, "a note"] = None
    note: str = "file://./a-text-that-is-no-uri"


class _WiderJob(FineTuneJob):
    spec: _WiderSpec


@pytest.fixture
def wider() -> _WiderJob:
    teacher = {"uri": "file://./teacher", "adapters": ["s3://a/1", "file://../two"]}
    added = {
        "spec.teacher": teacher,
        "spec.teachers": [{"uri": "s3://a/3"}],
        "spec.copies": {"second": "s3://copies/x"},
    }
    return _WiderJob.model_validate(edited(added))


def test_the_uris_of_a_job_are_told_with_what_happens_there() -> None:
    job = FineTuneJob.model_validate(
        edited({"spec.dataset.test.uri": "s3://b/t.csv", "spec.credentials": [{"prefix": "s3://", "secretName": "x"}]})
    )
    assert list(uri_fields(job)) == [
        UriField("spec.model.uri", "file:///models/minilm", Use.READ),
        UriField("spec.dataset.uri", "file:///data/reviews.csv", Use.READ),
        UriField("spec.dataset.test.uri", "s3://b/t.csv", Use.READ),
        UriField("spec.output.uri", "file:///results", Use.WRITE),
    ]


def test_a_new_field_of_a_uris_type_is_found_wherever_it_is(wider: _WiderJob) -> None:
    assert {field for field in uri_fields(wider) if "teacher" in field.path or "copies" in field.path} == {
        UriField("spec.teacher.uri", "file://./teacher", Use.READ),
        UriField("spec.teacher.adapters[0]", "s3://a/1", Use.READ),
        UriField("spec.teacher.adapters[1]", "file://../two", Use.READ),
        UriField("spec.teachers[0].uri", "s3://a/3", Use.READ),
        UriField("spec.copies.second", "s3://copies/x", Use.WRITE),
    }


def test_a_profile_forbids_what_a_new_field_names(wider: _WiderJob) -> None:
    profile = FineTuneProfile.model_validate(edited({"spec.allowedUriPrefixes": ["file:///", "s3://a"]}, PROFILE))
    resolved = resolve_relative_uris(wider, Path("/jobs/team"))
    assert [path for path, _, _ in violations(resolved, profile)] == ["spec.copies.second"]


def test_relative_uris_of_new_fields_start_at_the_folder_and_texts_stay(wider: _WiderJob) -> None:
    spec = resolve_relative_uris(wider, Path("/jobs/team")).spec
    assert spec.teacher == _Teacher(uri="file:///jobs/team/teacher", adapters=["s3://a/1", "file:///jobs/two"])
    assert spec.note == "file://./a-text-that-is-no-uri"


def test_a_job_without_relative_uris_stays_as_it_is() -> None:
    job = FineTuneJob.model_validate(JOB)
    assert resolve_relative_uris(job, Path("/jobs")) == job
