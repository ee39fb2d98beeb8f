"""`kubetune verify` as a person calls it: the verdict, the facts, and the exit code."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kubetune_api.text import size
from kubetune_cli.main import app
from kubetune_trainer.artifact.signature import key_digest, public_key
from kubetune_trainer.records import RequirementResult
from support.published_runs import RECORD, published_run
from support.signing_keys import write_keys

UNMET = (RequirementResult("test/accuracy", 0.8, 0.9, None),)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", *arguments])


def test_a_model_that_is_what_was_published_is_verified(tmp_path: Path) -> None:
    artifact = published_run(tmp_path.as_uri())
    done = call(artifact.uri, "--digest", artifact.digest)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"verified  {artifact.uri}",
        f"  manifest  {artifact.manifest_uri}",
        f"  digest    {artifact.digest}",
        f"  files     5 files, {size(artifact.size_bytes)}",
        "  weights   a model of 16 parameters: 4 F16, 12 F32",
    ]


def test_a_path_of_this_machine_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published_run((tmp_path / "a run").as_uri())
    monkeypatch.chdir(tmp_path)
    done = call("a run")
    assert done.exit_code == 0
    assert "whoever may write there may have changed the manifest too; --digest compares it" in done.stdout


@pytest.mark.parametrize("given", [False, True], ids=["no key", "a key"])
def test_a_signature_is_compared_with_a_key_where_one_is_given(tmp_path: Path, given: bool) -> None:
    private, public = write_keys(tmp_path)
    artifact = published_run((tmp_path / "run").as_uri(), signing_key=private)
    done = call(artifact.uri, *(["--public-key", str(public)] if given else []))
    assert done.exit_code == 0
    digest = key_digest(public_key(public.read_bytes()))
    compared = f"compared with the key {digest}: a model of the job film-reviews"
    said = compared if given else "there, and compared with nothing; --public-key compares it"
    assert f"  signature {said}\n" in done.stdout
    assert ("the key vouches for the model's files alone; --digest compares it" in done.stdout) is given


def _alter(root: Path) -> None:
    (root / "executions/1/report.html").write_text("another!")


@pytest.mark.parametrize(
    ("record", "harm", "said"),
    [
        pytest.param(RECORD, _alter, "executions/1/report.html has other bytes than were published", id="altered"),
        pytest.param(
            replace(RECORD, requirements=UNMET),
            lambda _: None,
            "rejected: test/accuracy is 0.8, required is at least 0.9",
            id="rejected",
        ),
    ],
)
def test_a_model_that_must_not_be_used_is_not_verified(
    tmp_path: Path, record: object, harm: Callable[[Path], None], said: str
) -> None:
    artifact = published_run(tmp_path.as_uri(), record)  # type: ignore[arg-type]
    harm(tmp_path)
    done = call(artifact.uri)
    assert (done.exit_code, done.stderr) == (1, f"  - {said}\n")
    assert done.stdout.startswith(f"NOT verified  {artifact.uri}\n")


def test_a_requirement_that_was_missed_counts_whatever_the_manifest_calls_the_model(tmp_path: Path) -> None:
    published_run(tmp_path.as_uri(), replace(RECORD, requirements=UNMET))
    content = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**content, "rejected": False}))
    done = call(tmp_path.as_uri())
    assert (done.exit_code, done.stderr) == (1, "  - rejected: test/accuracy is 0.8, required is at least 0.9\n")


def test_json_is_one_object_on_standard_output(tmp_path: Path) -> None:
    artifact = published_run(tmp_path.as_uri())
    _alter(tmp_path)
    done = call(tmp_path.as_uri(), "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (1, "")
    assert {name: found[name] for name in ("verified", "uri", "digest", "rejected", "types")} == {
        "verified": False,
        "uri": artifact.uri,
        "digest": artifact.digest,
        "rejected": False,
        "types": {"F16": 4, "F32": 12},
    }
    assert found["errors"] == ["executions/1/report.html has other bytes than were published"]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        pytest.param("file:///nowhere/at/all", "no run was published there", id="nothing there"),
        pytest.param("--help-me://x", "The URI --help-me://x cannot be used", id="what looks like an option"),
    ],
)
def test_what_cannot_be_told_is_neither(uri: str, said: str) -> None:
    done = call("--", uri)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_message_that_is_larger_than_a_pipe_is_told_whole() -> None:
    done = call("--", f"{'x' * 100_000}://y")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "x" * 100_000 in done.stderr


def test_neither_torch_nor_ray_is_started_for_it() -> None:
    loaded = (
        "import sys, kubetune_trainer.examine as e; e.examined('file:///nowhere');"
        " print([name for name in ('torch', 'ray', 'deepspeed', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        pytest.param(lambda model: None, 0, "the same model, 3 files equal", id="the same"),
        pytest.param(
            lambda model: (model / "tokenizer.json").write_text("[]"), 1, "another model, 2 files equal", id="another"
        ),
    ],
)
def test_a_run_is_compared_with_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], code: int, said: str
) -> None:
    published_run((tmp_path / "first").as_uri())
    published_run((tmp_path / "again").as_uri(), change=change)
    monkeypatch.chdir(tmp_path)
    done = call("again", "--against", "first")
    assert done.exit_code == code
    assert f"  against   {(tmp_path / 'first/manifest.json').as_uri()}: {said}\n" in done.stdout
    assert ("nothing that was recorded differs" in done.stdout) is bool(code)
    assert done.stderr == ("  - against: tokenizer.json has other bytes\n" if code else "")
