"""What `kubetune run` says of the fields that only a cluster's operator can obey."""

from pathlib import Path

import pytest
import yaml

from kubetune_api.manifest import read_manifest
from kubetune_api.uris import resolve_relative_uris
from kubetune_cli.run import cluster_note
from support.job_cases import Object, edited


def note(edits: Object, *, overrides: tuple[str, ...] = ()) -> str | None:
    """The note on a manifest with these edits, read as the command reads it."""
    manifest = read_manifest(yaml.safe_dump(edited(edits)), "job.yaml", overrides=overrides)
    assert not manifest.errors
    return cluster_note(resolve_relative_uris(manifest.jobs[0], Path("/")).spec)


def test_a_manifest_without_such_fields_gets_no_note() -> None:
    assert note({}) is None


def test_one_field_is_named_alone() -> None:
    said = note({"spec.ttlSecondsAfterFinished": 60})
    assert said is not None
    assert "the field ttlSecondsAfterFinished speaks to the cluster's operator; a local run ignores it" in said


def test_one_note_names_all_fields_as_the_manifest_does() -> None:
    said = note({"spec.queueName": "team-a", "spec.priorityClassName": "low", "spec.retry": {"maxAttempts": 2}})
    assert said == (
        "  note: queueName, priorityClassName and retry speak to the cluster's operator; a local run ignores them"
    )


@pytest.mark.parametrize(
    ("suspended", "goes_on"), [pytest.param(True, True, id="suspended"), pytest.param(False, False, id="not suspended")]
)
def test_a_suspended_job_goes_on_and_says_so(suspended: bool, goes_on: bool) -> None:
    said = note({"spec.suspend": suspended})
    assert said is not None
    assert ("goes on though suspend is true" in said) == goes_on


def test_a_field_that_set_gives_is_named_too() -> None:
    assert "the field queueName speaks" in str(note({}, overrides=("spec.queueName=team-a",)))
