"""`kubetune plan` as it is called: the table, the verdict, the fields as YAML, the exit codes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kubetune_cli.main import app
from kubetune_cli.run import INVALID
from support.job_cases import COMMIT, edited

BERT = {"spec.model": {"uri": "hf://google-bert/bert-base-uncased", "revision": COMMIT}}
PROFILE = {
    "apiVersion": "kubetune.dev/v1alpha1",
    "kind": "FineTuneProfile",
    "metadata": {"name": "a100"},
    "spec": {"accelerator": {"memory": "40Gi"}},
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return written(tmp_path / "job.yaml", edited({**BERT, "spec.profileRef.name": "a100"}))


def written(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_job_that_fits_its_profile_is_planned_with_the_arithmetic(manifest: Path, tmp_path: Path) -> None:
    profile = written(tmp_path / "profile.yaml", PROFILE)
    result = CliRunner().invoke(app, ["plan", str(manifest), "--profile", str(profile)])
    assert result.exit_code == 0, result.stderr
    assert "chosen" in result.stdout
    assert "the accelerator of profile a100" in " ".join(result.stdout.split())


def test_yaml_is_the_fields_to_set_and_nothing_else(manifest: Path) -> None:
    result = CliRunner().invoke(app, ["plan", str(manifest), "--memory", "40", "--yaml"])
    assert result.exit_code == 0, result.stderr
    fields = yaml.safe_load(result.stdout)["spec"]
    assert set(fields) == {"training", "zero"}
    again = edited({**BERT, **{f"spec.{part}": values for part, values in fields.items()}})
    planned = CliRunner().invoke(app, ["plan", str(written(manifest, again)), "--memory", "40", "--yaml"])
    assert yaml.safe_load(planned.stdout)["spec"] == fields


def test_a_job_that_does_not_fit_ends_with_1_and_no_yaml(manifest: Path) -> None:
    result = CliRunner().invoke(app, ["plan", str(manifest), "--memory", "1Gi", "--yaml"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The training does not fit" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param([], "there is no FineTuneProfile named a100", id="no profile"),
        pytest.param(["--memory", "40GB"], "--memory: 40GB is not the memory", id="no memory of an accelerator"),
        pytest.param(["--memory", "40", "--config", "none.json"], "none.json: the file cannot be read", id="no config"),
    ],
)
def test_what_is_missing_is_told_and_ends_with_2(manifest: Path, arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["plan", str(manifest), *arguments])
    assert (result.exit_code, result.stdout) == (INVALID, "")
    assert sentence in result.stderr


def test_nodes_in_the_place_of_workers_must_suit_the_profile_as_well(manifest: Path, tmp_path: Path) -> None:
    small = {**PROFILE, "spec": {**PROFILE["spec"], "worker": {"memory": "2Gi"}}}
    profile = written(tmp_path / "profile.yaml", small)
    result = CliRunner().invoke(app, ["plan", str(manifest), "--profile", str(profile), "--nodes", "2"])
    assert result.exit_code == 1
    assert "worker.memory of profile a100 is 2Gi" in " ".join(result.output.split())


def test_a_plan_is_of_the_job_with_its_defaults_as_the_operator_makes_it(tmp_path: Path) -> None:
    """These matrices are whole: neither is spread, and in 32 bits."""
    whole = written(tmp_path / "job.yaml", edited({**BERT, "spec.training.optimizer.type": "Adafactor"}))
    result = CliRunner().invoke(
        app, ["plan", str(whole), "--memory", "40", "--yaml", "--set", "spec.resources.workers=4"]
    )
    assert result.exit_code == 0, result.stderr
    assert yaml.safe_load(result.stdout)["spec"]["zero"] == {"stage": 0}


@pytest.mark.parametrize("option", ["--nodes", "--gpus-per-node"])
def test_what_is_of_one_model_is_refused_beside_a_comparison(manifest: Path, option: str) -> None:
    result = CliRunner().invoke(app, ["plan", str(manifest), "--compare", "google-bert/bert-base-uncased", option, "2"])
    assert result.exit_code == INVALID
    assert option in result.output
