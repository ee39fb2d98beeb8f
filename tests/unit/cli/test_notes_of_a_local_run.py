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
    assert "a local run ignores ttlSecondsAfterFinished, which only the operator uses" in said


def test_one_note_names_all_fields_as_the_manifest_does() -> None:
    said = note({"spec.queueName": "team-a", "spec.priorityClassName": "low", "spec.retry": {"maxAttempts": 2}})
    assert said == "  note: a local run ignores queueName, priorityClassName and retry, which only the operator uses"


@pytest.mark.parametrize(
    ("suspended", "trains"), [pytest.param(True, True, id="suspended"), pytest.param(False, False, id="not suspended")]
)
def test_a_suspended_job_trains_and_says_so(suspended: bool, trains: bool) -> None:
    said = note({"spec.suspend": suspended})
    assert said is not None
    assert ("it trains although suspend is true" in said) == trains


def test_a_field_that_set_gives_is_named_too() -> None:
    assert "ignores queueName, which" in str(note({}, overrides=("spec.queueName=team-a",)))
