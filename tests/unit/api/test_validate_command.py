"""`kubetune validate`: its exit code, and what it prints where."""

import io
from pathlib import Path

import pytest

from kubetune_api.tasks import TASKS
from kubetune_cli.validate import validate

GOOD = """\
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneJob
metadata: {name: reviews}
spec:
  model: {uri: file:///m}
  task: {type: SequenceClassification}
  dataset: {uri: file:///d.csv, columns: {text: t, label: l}}
  output: {uri: file:///o}
---
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneProfile
metadata: {name: small}
spec: {}
"""


def test_a_right_manifest_has_a_line_per_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(GOOD)
    assert validate([file]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{file}: FineTuneJob reviews: ok\n{file}: FineTuneProfile small: ok\n"
    assert printed.err == ""


def test_the_errors_of_all_files_are_printed_and_the_right_objects_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, missing = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "missing.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("type: SequenceClassification", "type: '[red]'").replace("{name: small}", "{}"))
    assert validate([good, bad, missing, tmp_path]) == 2
    printed = capsys.readouterr()
    assert printed.out.count(": ok\n") == 2
    assert printed.err.splitlines() == [
        f'{bad}:6: spec.task.type: "[red]" is not known; give one of {", ".join(TASKS)}',
        f"{bad}:12: metadata.name: missing; add `name`: the name of the object: at most 37 lowercase letters, digits"
        " and `-`",
        f"{missing}: the file cannot be read: No such file or directory; name a manifest, or - for standard input",
        f"{tmp_path}: the file cannot be read: Is a directory; name a manifest, or - for standard input",
        "4 errors",
    ]


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.replace("epochs", "x").encode() + b"extra: 1\n")))
    assert validate([Path("-")]) == 2
    printed = capsys.readouterr()
    assert printed.out == "standard input: FineTuneJob reviews: ok\n"
    assert printed.err.splitlines() == [
        "standard input:14: extra: unknown field; the fields here are apiVersion, kind, metadata, spec",
        "1 error",
    ]
