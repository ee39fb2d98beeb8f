"""`kubetune plan --compare`: parameters, memory, time and cost of one job with several models."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kubetune_cli.main import app
from kubetune_cli.run import FAILED, INVALID
from support.job_cases import CAUSAL, edited
from support.tiny_models import CONFIGS

ROOT = Path(__file__).parents[3]
SMALL, MIDDLE, LARGE = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B", "meta-llama/Llama-3.1-70B"
TIME = ["--accelerator", "A100", "--tokens", "10000000"]


def profile(name: str, memory: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubetune.dev/v1alpha1",
        "kind": "FineTuneProfile",
        "metadata": {"name": name},
        "spec": {"accelerator": {"memory": memory}},
    }


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    edits = {**CAUSAL, "spec.profileRef.name": "a100", "spec.resources.workers": 4}
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump_all([edited(edits), profile("a100", "80Gi")]))
    return path


def called(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["plan", *map(str, arguments)], env={"COLUMNS": "120"})


def rows(output: str) -> dict[str, list[str]]:
    """The cells of each line of the table, by the model."""
    return {cells[0]: cells[1:] for cells in map(str.split, output.splitlines()) if cells and "/" in cells[0]}


def test_each_model_has_its_parameters_memory_stage_time_and_cost(manifest: Path) -> None:
    result = called(manifest, "--compare", f"{SMALL},{MIDDLE}", *TIME, "--price", "2.5")
    assert result.exit_code == 0, result.stderr
    table = rows(result.stdout)
    assert table.keys() == {SMALL, MIDDLE}
    parameters, memory, stage, fits, gpu_hours, hours, cost = table[MIDDLE]
    assert (parameters, fits) == ("8.19B", "yes")
    assert float(memory) <= 72
    assert stage in {"1", "2", "3"}
    assert float(hours) == pytest.approx(float(gpu_hours) / 4, abs=0.01)
    assert float(cost) == pytest.approx(float(gpu_hours) * 2.5, abs=0.02)
    assert float(table[SMALL][4]) < float(gpu_hours)


def test_the_formula_and_where_its_numbers_come_from_are_shown(manifest: Path) -> None:
    shown = called(manifest, "--compare", SMALL, *TIME, "--price", "2.5").stdout
    assert "GPU-hours = 2 · (forward + backward + learning) · tokens / (peak · used)" in shown
    assert "tokens: 10,000,000 tokens · 3 epochs" in shown
    assert "peak of A100: 312 TFLOPS in BF16 or FP16 and 19.5 TFLOPS in FP32 by its datasheet" in shown
    assert "used: 40%, an assumption" in shown
    assert "cost on a100 = GPU-hours · 2.5" in shown


def test_a_job_of_seconds_takes_more_than_no_hours(manifest: Path) -> None:
    shown = called(manifest, "--compare", SMALL, "--accelerator", "A100", "--rows", "200", "--price", "2.5").stdout
    assert all(0 < float(cell) < 0.01 for cell in rows(shown)[SMALL][4:])


def test_of_rows_the_time_is_a_bound_that_says_so(manifest: Path) -> None:
    shown = called(manifest, "--compare", SMALL, "--accelerator", "A100", "--rows", "1000").stdout
    assert "tokens: at most 1,000 rows · " in shown


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(
            ["--tokens", "1000"],
            "No time: give --accelerator, or accelerator.model of the profile, one of A10, ",
            id="no accelerator",
        ),
        pytest.param(["--accelerator", "A100"], "No time: give --tokens, those of one pass", id="no tokens"),
        pytest.param(TIME, "No cost: give --price", id="no price"),
    ],
)
def test_what_an_estimate_lacks_is_said_and_nothing_invented(manifest: Path, options: list[str], sentence: str) -> None:
    result = called(manifest, "--compare", SMALL, *options)
    assert result.exit_code == 0
    assert sentence in result.stdout
    assert rows(result.stdout)[SMALL][-1] == "–"


def test_a_model_that_does_not_fit_says_what_would_do(manifest: Path) -> None:
    result = called(manifest, "--compare", f"{SMALL},{LARGE}", *TIME)
    assert result.exit_code == 0
    assert rows(result.stdout)[LARGE][3:] == ["no", "–", "–", "–"]
    assert f"{LARGE}: Set resources.workers to " in result.stdout


def test_where_none_fits_it_ends_with_1(manifest: Path) -> None:
    assert called(manifest, "--compare", LARGE).exit_code == FAILED


def test_models_may_be_named_one_by_one_and_by_their_uri(manifest: Path) -> None:
    result = called(manifest, "--compare", f"hf://{SMALL}", "--compare", MIDDLE)
    assert rows(result.stdout).keys() == {f"hf://{SMALL}", MIDDLE}


def test_each_profile_with_an_accelerator_has_its_lines(manifest: Path, tmp_path: Path) -> None:
    more = tmp_path / "profiles.yaml"
    more.write_text(yaml.safe_dump(profile("l4", "24Gi")))
    result = called(manifest, "--profile", more, "--compare", MIDDLE)
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith(MIDDLE)]
    assert [(line[1], line[5]) for line in lines if line[1] != "on"] == [("l4", "no"), ("a100", "yes")]
    assert f"{MIDDLE} on l4: Set resources.workers to " in result.stdout


def test_time_and_cost_are_by_the_profiles_accelerators_and_prices(manifest: Path, tmp_path: Path) -> None:
    known = [profile("a100", "80Gi"), profile("h100", "80Gi")]
    for each, model, price in zip(known, ("A100", "H100"), (2.5, 4.0), strict=True):
        each["spec"]["accelerator"] |= {"model": model, "pricePerHour": price}
    more = tmp_path / "profiles.yaml"
    more.write_text(yaml.safe_dump_all(known))
    only_job = tmp_path / "only-job.yaml"
    only_job.write_text(yaml.safe_dump(next(yaml.safe_load_all(manifest.read_text()))))
    shown = called(only_job, "--profile", more, "--compare", MIDDLE, "--tokens", "10000000").stdout
    lines = {line.split()[1]: line.split() for line in shown.splitlines() if line.startswith(MIDDLE)}
    hours = {name: float(line[6]) for name, line in lines.items()}
    assert hours["a100"] / hours["h100"] == pytest.approx(989 / 312, rel=0.02)
    costs = {name: float(line[8]) for name, line in lines.items()}
    assert costs == pytest.approx({"a100": hours["a100"] * 2.5, "h100": hours["h100"] * 4}, abs=0.03)
    assert "cost on h100 = GPU-hours · 4" in shown


def test_a_config_of_ones_own_is_compared_too(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIGS["llama"].to_dict()))
    monkeypatch.chdir(tmp_path)
    result = called(manifest, "--compare", f"my/model,{SMALL}")
    assert result.exit_code == 0, result.stderr
    assert rows(result.stdout).keys() == {"my/model", SMALL}


def test_the_page_on_choosing_shows_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "choosing.md").read_text("utf-8")
    (command,) = re.findall(r"^```sh\nkubetune plan (.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (printed,) = re.findall(r"^```text\n(.*?)\n^```$", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["plan", *shlex.split(command)], env={"COLUMNS": "100"})
    assert [line.rstrip() for line in result.stdout.splitlines()] == printed.splitlines()


@pytest.mark.parametrize(
    ("task", "columns", "family", "said"),
    [
        pytest.param(
            "Embedding",
            {"anchor": "question", "positive": "answer"},
            "llama",
            "Embedding needs an encoder, and config.json is a decoder; leave it out",
            id="a decoder for vectors",
        ),
        pytest.param(
            "Seq2Seq",
            {"source": "question", "target": "answer"},
            "bert",
            "Seq2Seq needs an encoder with a decoder, and config.json is an encoder; leave it out",
            id="an encoder that cannot write",
        ),
        pytest.param(
            "SequenceClassification",
            {"text": "question", "label": "answer"},
            "t5",
            "needs an encoder or a decoder, and config.json is an encoder with a decoder; leave it out",
            id="both for labels",
        ),
        pytest.param(
            "TokenClassification",
            {"tokens": "question", "tags": "answer"},
            "olmo2",
            "needs an output for each token, which config.json has not in transformers; leave it out",
            id="one that gives no tags",
        ),
    ],
)
def test_a_model_that_a_run_would_refuse_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, columns: dict[str, str], family: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    edits = {"spec.task": {"type": task}, "spec.dataset.columns": columns, "spec.profileRef.name": "a100"}
    Path("job.yaml").write_text(yaml.safe_dump_all([edited(edits), profile("a100", "80Gi")]))
    Path("config.json").write_text(json.dumps(CONFIGS[family].to_dict()))
    result = called("job.yaml", "--compare", "config.json")
    assert result.exit_code == INVALID
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--compare", "Qwen/Qwen3-0.7B"], "did you mean Qwen/Qwen3-", id="a misspelt model"),
        pytest.param(["--compare", "nobody/nothing"], "give the path of its config.json", id="an unknown model"),
        pytest.param(
            ["--compare", "google-bert/bert-base-uncased"],
            "CausalLM needs a decoder, and google-bert/bert-base-uncased is an encoder; leave it out",
            id="an encoder for a decoder's task",
        ),
        pytest.param(
            ["--compare", SMALL, "--accelerator", "A1"],
            "--accelerator: the peak of A1 is not known; give one of A10, ",
            id="an unknown accelerator",
        ),
        pytest.param(
            ["--compare", SMALL, "--yaml"], "it is of one model; leave it out, or --compare", id="fields to set"
        ),
        pytest.param(["--price", "2"], "it belongs to --compare; name the models there", id="a price without models"),
    ],
)
def test_what_cannot_be_compared_is_refused(manifest: Path, arguments: list[str], sentence: str) -> None:
    result = called(manifest, *arguments)
    assert (result.exit_code, result.stdout) == (INVALID, "")
    assert sentence in " ".join(result.stderr.replace("│", " ").split())
