"""`--set path=value` changes a manifest as if its author had."""

from typing import Any

import pytest

from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import read_manifest

TEXT = """\
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneJob
metadata: {name: reviews}
spec:
  model: {uri: file:///m}
  task: {type: SequenceClassification, labels: [a, b]}
  dataset: {uri: file:///d.csv, columns: {text: t, label: l}}
  training: {epochs: 2}
  evaluation: {require: [{metric: test/loss, max: 1}]}
  output: {uri: file:///o}
"""


def job_with(*overrides: str) -> FineTuneJob:
    manifest = read_manifest(TEXT, "job.yaml", overrides=overrides)
    assert manifest.errors == ()
    return manifest.jobs[0]


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        pytest.param("spec.training.epochs=1", lambda s: s.training.epochs, 1, id="a number replaces a number"),
        pytest.param("spec.training.learningRate=2e-5", lambda s: s.training.learning_rate, 2e-5, id="2e-5 is one"),
        pytest.param("spec.dataset.stratify=no", lambda s: s.dataset.stratify, False, id="no is a boolean"),
        pytest.param("spec.zero.stage=2", lambda s: s.zero.stage, 2, id="a group that is not there is made"),
        pytest.param("spec.output.uri=s3://b/x=y", lambda s: s.output.uri, "s3://b/x=y", id="a value may hold ="),
        pytest.param("spec.task.labels[1]=c", lambda s: s.task.labels, ["a", "c"], id="an item is replaced"),
        pytest.param("spec.task.labels[2]=c", lambda s: s.task.labels, ["a", "b", "c"], id="an item is added"),
        pytest.param("spec.task.labels=[x, 'y']", lambda s: s.task.labels, ["x", "y"], id="a list is replaced"),
        pytest.param("spec.task.labels=", lambda s: s.task.labels, None, id="nothing takes a field out"),
        pytest.param("spec.task.labels[0]='1'", lambda s: s.task.labels, ["1", "b"], id="a quoted number is a text"),
        pytest.param(
            "spec.evaluation.require[0].max=0.5", lambda s: s.evaluation.require[0].max, 0.5, id="a field of an item"
        ),
    ],
)
def test_an_override_is_read_as_kubectl_reads_the_value(override: str, read: Any, value: object) -> None:
    assert read(job_with(override).spec) == value


def test_overrides_come_before_the_judgement_and_before_the_defaults() -> None:
    manifest = read_manifest(
        TEXT.replace("epochs: 2", "epochs: 0"), "job.yaml", overrides=["spec.training.epochs=4", "metadata.name=other"]
    )
    assert manifest.errors == ()
    assert manifest.jobs[0].spec.training.epochs == 4
    assert manifest.jobs[0].metadata.name == "other"


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("spec.training.epochs", '--set: "spec.training.epochs" has no `=`; write --set spec.training.epochs=1'),
        ("spec..epochs=1", '--set: "spec..epochs" is not a path; write it like spec.evaluation.require[0].min'),
        ("spec.training.epochs=0", "--set: spec.training.epochs: 0 is less than 1; give 1 to 1000"),
        ("spec.training.epoch=1", "--set: spec.training.epoch: unknown field; did you mean `epochs`?"),
        ("training.epochs=1", "--set: training: unknown field here; did you mean `spec.training`?"),
        (
            "spec.task.labels[7]=c",
            "--set: spec.task.labels[7]: the list has 2 items; give an index of at most 2, which adds one",
        ),
        (
            "spec.task.labels[0]=y",
            '--set: spec.task.labels[0]: without quotes, y is read as the boolean true; quote it: "y"',
        ),
        (
            "spec.task.labels=[y, z]",
            '--set: spec.task.labels[0]: without quotes, y is read as the boolean true; quote it: "y"',
        ),
        (
            "spec.task.labels=[y",
            '--set: spec.task.labels: "[y" cannot be read: the text ends inside the brackets that open here; close'
            " them",
        ),
        (
            "spec.training.epochs=.inf",
            "--set: spec.training.epochs: .inf is not a number in JSON; give a finite number, or quote it",
        ),
        (
            "spec.model.uri.path=x",
            "--set: spec.model.uri: a group of fields is not a text; give a text",
        ),
    ],
)
def test_a_wrong_override_is_told_like_a_wrong_manifest(override: str, error: str) -> None:
    assert [str(each) for each in read_manifest(TEXT, "job.yaml", overrides=[override]).errors] == [error]


def test_an_error_beside_an_override_keeps_its_line() -> None:
    text = TEXT.replace("epochs: 2", "epochs: 0")
    (error,) = read_manifest(text, "job.yaml", overrides=["spec.training.seed=3"]).errors
    assert str(error).startswith("job.yaml:8: spec.training.epochs: ")


def test_an_override_reaches_every_job_and_no_profile() -> None:
    profile = "---\n{apiVersion: kubetune.dev/v1alpha1, kind: FineTuneProfile, metadata: {name: p}, spec: {}}\n"
    second = "---\n" + TEXT.replace("name: reviews", "name: second")
    manifest = read_manifest(TEXT + profile + second, "job.yaml", overrides=["spec.training.epochs=7"])
    assert manifest.errors == ()
    assert [job.spec.training.epochs for job in manifest.jobs] == [7, 7]
