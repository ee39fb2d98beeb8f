"""What a right manifest becomes."""

from pathlib import Path

import pytest

from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import read_manifest
from kubetune_api.uris import lies_below, resolve_relative_uris, uri_fields

TEXT = """\
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneJob
metadata: {name: reviews, labels: {team: a}, annotations: {why: "yes"}, finalizers: [x]}
spec:
  model: {uri: file://./models/minilm}
  task: {type: CausalLM}
  dataset:
    uri: file://../data/*.jsonl
    columns: {prompt: p, completion: c}
    cleaning:
    validation: {uri: file://v.jsonl}
    test: {uri: s3://bucket/t.jsonl}
  output: {uri: file:///out/./here}
"""


def job_of(text: str) -> FineTuneJob:
    manifest = read_manifest(text, "job.yaml")
    assert manifest.errors == ()
    return manifest.jobs[0]


def test_relative_file_uris_start_at_the_folder_of_the_manifest() -> None:
    job = resolve_relative_uris(job_of(TEXT), Path("/work/jobs"))
    assert [(path, uri) for path, uri, _ in uri_fields(job)] == [
        ("spec.model.uri", "file:///work/jobs/models/minilm"),
        ("spec.dataset.uri", "file:///work/data/*.jsonl"),
        ("spec.dataset.validation.uri", "file:///work/jobs/v.jsonl"),
        ("spec.dataset.test.uri", "s3://bucket/t.jsonl"),
        ("spec.output.uri", "file:///out/here"),
    ]
    assert FineTuneJob.model_validate(job.to_dict(), by_alias=True, by_name=False) == job


def test_a_percent_sign_in_the_folder_of_the_manifest_is_no_encoding() -> None:
    job = resolve_relative_uris(job_of(TEXT), Path("/work/50%41"))
    assert job.spec.model.uri == "file:///work/50%2541/models/minilm"


def test_a_null_is_an_absent_field_as_it_is_to_the_api_server() -> None:
    assert job_of(TEXT).spec.dataset.cleaning.drop_duplicates is True
    assert job_of(TEXT) == job_of(TEXT.replace("    cleaning:\n", ""))


@pytest.mark.parametrize(
    "status", ["{phase: Running}", "nonsense", "[1]", "{phase: 5, unknown: y}"], ids=lambda status: f"status {status}"
)
def test_a_status_is_tolerated_and_not_read(status: str) -> None:
    assert job_of(f"{TEXT}status: {status}\n").status is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(
            "test: {uri: s3://bucket/t.jsonl}",
            "testFraction: 0.9",
            id="the share beside a separate validation set may be large",
        ),
        pytest.param("    validation: {uri: file://v.jsonl}\n", "", id="the default share beside a separate test set"),
        pytest.param(
            "uri: file://../data/*.jsonl",
            f"uri: hf://datasets/a/b/*.parquet\n    revision: {'a' * 40}",
            id="a dataset of the hub with its commit",
        ),
        pytest.param(
            "  output:",
            "  evaluation: {require: [{metric: test/perplexity, max: 9}, {metric: validation/loss, min: 0, max: 0}]}\n"
            "  output:",
            id="perplexity and loss may be required of CausalLM, and min may equal max",
        ),
        pytest.param("  output:", "  training: {schedule: {warmupSteps: 0}}\n  output:", id="a warm-up of no steps"),
        pytest.param("  output:", "  training: {epochs: 3.0, learningRate: 1}\n  output:", id="3.0 is a whole number"),
    ],
)
def test_a_right_manifest_has_no_error(old: str, new: str) -> None:
    assert old in TEXT
    job_of(TEXT.replace(old, new))


def test_json_is_a_manifest_too() -> None:
    assert job_of(job_of(TEXT).model_dump_json(by_alias=True, exclude_none=True)) == job_of(TEXT)


def test_a_profile_binds_only_the_jobs_that_name_it() -> None:
    profile = """\
---
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneProfile
metadata: {name: small}
spec: {allowedUriPrefixes: ["s3://"]}
"""
    manifest = read_manifest(TEXT + profile, "job.yaml")
    assert manifest.errors == ()
    assert manifest.profiles[0].spec.allowed_uri_prefixes == ["s3://"]


def test_a_profiles_prefix_is_held_against_the_resolved_uri() -> None:
    profile = """\
---
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneProfile
metadata: {name: small}
spec: {allowedUriPrefixes: ["file:///jobs/", "file:///out/", "s3://"]}
"""
    named = TEXT.replace("spec:\n", "spec:\n  profileRef: {name: small}\n")
    errors = read_manifest(named + profile, "/jobs/job.yaml").errors
    assert [(error.path, error.line, error.value) for error in errors] == [
        ("spec.dataset.uri", 9, "file:///data/*.jsonl")
    ]


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        pytest.param("s3://team-a/x", "s3://team-a", id="below a bucket"),
        pytest.param("s3://team-a/x", "s3://team-a/", id="below a bucket with its slash"),
        pytest.param("s3://team-a", "s3://team-a/", id="the bucket itself"),
        pytest.param("s3://team-a/data/x/*.csv", "s3://team-a/data", id="below a folder"),
        pytest.param("s3://anyone/x", "s3://", id="a whole store"),
        pytest.param("file:///data/x", "file:///", id="the whole disk"),
        pytest.param("file:///my%20data/x", "file:///my data", id="encoded or not"),
    ],
)
def test_a_uri_lies_below_a_prefix(uri: str, prefix: str) -> None:
    assert lies_below(uri, prefix)


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        pytest.param("s3://team-a-evil/x", "s3://team-a", id="a bucket whose name goes on"),
        pytest.param("s3://team-a/database/x", "s3://team-a/data", id="a folder whose name goes on"),
        pytest.param("gs://team-a/x", "s3://team-a", id="another store"),
        pytest.param("s3://team-a", "s3://team-a/data", id="above the prefix"),
        pytest.param("s3://team-a/../team-b/x", "s3://team-a", id="a climb"),
        pytest.param("s3://team-a/data/..", "s3://team-a", id="a climb at the end"),
        pytest.param("file:///data/%2e%2e/etc", "file:///data", id="a climb in disguise"),
        pytest.param("file:///data/x%2f..%2f../etc", "file:///data", id="a climb with slashes in disguise"),
        pytest.param("file://localhost/etc", "file:///localhost", id="this machine's name is no folder"),
        pytest.param("s3://team-a/x", "s3", id="a prefix that is no URI"),
    ],
)
def test_a_uri_does_not_lie_below_a_prefix(uri: str, prefix: str) -> None:
    assert not lies_below(uri, prefix)


LIST = """\
apiVersion: v1
kind: List
items:
- apiVersion: kubetune.dev/v1alpha1
  kind: FineTuneJob
  metadata: {generateName: reviews-}
  spec:
    model: {uri: file:///m}
    task: {type: CausalLM}
    dataset: {uri: file:///d.csv, columns: {prompt: p, completion: c}}
    output: {uri: file:///o}
- apiVersion: kubetune.dev/v1alpha1
  kind: FineTuneProfile
  metadata: {name: small}
  spec: {}
"""


def test_the_items_of_a_list_are_objects() -> None:
    manifest = read_manifest(LIST, "list.yaml")
    assert manifest.errors == ()
    assert [each.metadata.name for each in (*manifest.jobs, *manifest.profiles)] == ["reviews-xxxxx", "small"]
    assert manifest.generated_names == {"reviews-xxxxx"}


def test_an_error_in_a_list_has_its_line_and_its_whole_path() -> None:
    wrong = LIST.replace("type: CausalLM", "type: dpo").replace("spec: {}", "spec: {head: {cpu: 1, cpu: 2}}")
    assert [(error.line, error.path) for error in read_manifest(wrong, "list.yaml").errors] == [
        (9, "items[0].spec.task.type"),
        (15, "items[1].spec.head.cpu"),
    ]


def test_overrides_reach_the_jobs_of_a_list() -> None:
    assert read_manifest(LIST, "list.yaml", overrides=["spec.training.epochs=7"]).jobs[0].spec.training.epochs == 7


def test_jobs_with_generated_names_do_not_replace_each_other() -> None:
    one = TEXT.replace("name: reviews", "generateName: reviews-")
    assert read_manifest(f"{one}---\n{one}", "job.yaml").errors == ()


def test_a_name_wins_over_a_generated_one() -> None:
    manifest = read_manifest(TEXT.replace("name: reviews", "name: reviews, generateName: X"), "job.yaml")
    assert manifest.errors == ()
    assert manifest.generated_names == frozenset()
    assert manifest.jobs[0].metadata.name == "reviews"


def test_an_empty_list_holds_no_object() -> None:
    (error,) = read_manifest("{apiVersion: v1, kind: List, items: []}", "list.yaml").errors
    assert error.message == "the file contains no object; write a FineTuneJob into it"


def test_kueues_label_is_refused_where_kueue_would_not_see_it() -> None:
    labelled = TEXT.replace("{team: a}", "{kueue.x-k8s.io/queue-name: fast}")
    (error,) = read_manifest(labelled, "job.yaml").errors
    assert (error.line, error.path) == (3, "metadata.labels.kueue.x-k8s.io/queue-name")
    assert "set spec.queueName, or remove the label" in error.message
    assert read_manifest(labelled + "  queueName: fast\n", "job.yaml").errors == ()
