"""`kubetune plan`: what it reads and what it shows."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kubetune_cli.plan import CannotPlanError, plan_file, print_plan
from kubetune_planner.plan import Refusal, TrainingPlan

PAGE = Path(__file__).parents[3] / "docs" / "planning.md"
JOB = """
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneJob
metadata: {name: assistant, namespace: team-a}
spec:
  model: {uri: "hf://meta-llama/Llama-3.1-8B", revision: "0000000000000000000000000000000000000000"}
  task: {type: CausalLM}
  dataset: {uri: "s3://datasets/dialogues.jsonl", columns: {prompt: prompt, completion: completion}}
  profileRef: {name: large}
  resources: {workers: 8}
  output: {uri: "s3://models/team-a"}
"""
PROFILE = """
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneProfile
metadata: {name: large}
spec: {accelerator: {memory: 80Gi}, worker: {memory: 64Gi}, scratchSize: 200Gi}
"""
CONFIG = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
WEIGHTS, OF_A_LAYER = 5_376 + 2 * 8_544 + 1_122, 8_544
"""Of `CONFIG` with a head for two labels: embeddings, layers, pooler and classifier."""
CLASSIFICATION = (
    JOB.replace('"hf://meta-llama/Llama-3.1-8B", revision: "0000000000000000000000000000000000000000"', "MODEL")
    .replace("CausalLM", "SequenceClassification")
    .replace("prompt: prompt, completion: completion", "text: text, label: label")
)


def written(folder: Path, text: str, name: str = "job.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def planned(job: Path, profile: Path | None = None, memory: str | None = None, config: Path | None = None) -> Any:
    return plan_file(job, profile, accelerator_memory=memory, config=config)


def shown(found: TrainingPlan | Refusal, width: int = 80) -> list[str]:
    out = StringIO()
    print_plan(found, Console(file=out, width=width))
    return out.getvalue().splitlines()


def test_the_accelerator_is_the_profiles(tmp_path: Path) -> None:
    job, profile = written(tmp_path, JOB), written(tmp_path, PROFILE, "profile.yaml")
    found = planned(job, profile)
    assert found == planned(written(tmp_path, JOB + "---" + PROFILE, "both.yaml"))
    assert found.stage == 2
    assert "on 8 workers" in found.sentence
    assert "the accelerator of profile large (80.0 GiB)" in found.sentence


def test_a_profile_without_bfloat16_means_32_bits(tmp_path: Path) -> None:
    profile = written(tmp_path, PROFILE.replace("80Gi", "80Gi, bf16: false"), "profile.yaml")
    assert "in FP32" in planned(written(tmp_path, JOB), profile).sentence


def test_memory_that_is_given_goes_before_the_profiles(tmp_path: Path) -> None:
    found = planned(written(tmp_path, JOB + "---" + PROFILE), memory="141")
    assert "the accelerator (141.0 GiB)" in found.sentence


@pytest.mark.parametrize(
    ("given", "read"),
    [
        pytest.param("80", "80.0 GiB", id="a number of GiB"),
        pytest.param("79.5", "79.5 GiB", id="a fraction of a GiB"),
        pytest.param("80Gi", "80.0 GiB", id="GiB as Kubernetes writes them"),
        pytest.param("81920Mi", "80.0 GiB", id="MiB"),
        pytest.param("80G", "74.5 GiB", id="a thousand million bytes each"),
    ],
)
def test_memory_is_given_as_a_quantity_or_in_gib(given: str, read: str, tmp_path: Path) -> None:
    assert f"the accelerator ({read})" in planned(written(tmp_path, JOB), memory=given).sentence


@pytest.mark.parametrize("given", ["", "0", "80GB", "80 Gi", "lots", "nan", "500m", "9" * 40])
def test_what_is_no_memory_of_an_accelerator_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(CannotPlanError, match="is not the memory of an accelerator; give a quantity such as 80Gi"):
        planned(written(tmp_path, JOB), memory=given)


def test_the_table_shows_each_stage_and_the_choice(tmp_path: Path) -> None:
    lines = shown(planned(written(tmp_path, JOB + "---" + PROFILE)))
    assert lines[1].split() == [
        "ZeRO", "batch", "weights", "gradients", "optimizer", "activations", "buffers", "context", "total", "fits",
    ]  # fmt: skip
    rows = [line.split() for line in lines[2:5]]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[-1] for row in rows] == ["no", "chosen", "yes"]
    for row in rows:
        assert sum(map(float, row[2:8])) == pytest.approx(float(row[8]), abs=0.4)
    assert max(map(len, lines)) <= 80


def test_a_refusal_shows_what_would_fit(tmp_path: Path) -> None:
    lines = shown(planned(written(tmp_path, JOB + "---" + PROFILE.replace("80Gi", "24Gi"))), width=1000)
    assert [line.split()[-1] for line in lines[2:5]] == ["no", "no", "no"]
    assert lines[-2].startswith("The training does not fit: ZeRO stage 3 with micro-batches of 1")
    assert lines[-1].startswith("Set resources.workers to ")


def test_the_shape_comes_from_the_models_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a model"
    folder.mkdir()
    written(folder, json.dumps(CONFIG), "config.json")
    job = written(tmp_path, CLASSIFICATION.replace("MODEL", '"file://./a%20model"'))
    assert planned(job, memory="16").memory.weights == 2 * WEIGHTS


def test_or_from_a_file_that_is_named(tmp_path: Path) -> None:
    config = written(tmp_path, json.dumps(CONFIG | {"num_hidden_layers": 3}), "other.json")
    job = written(tmp_path, CLASSIFICATION.replace("MODEL", '"s3://models/mine"'))
    assert planned(job, memory="16", config=config).memory.weights == 2 * (WEIGHTS + OF_A_LAYER)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param("s3://models/mine", "does not know the shape of s3://models/mine; give", id="a model in a bucket"),
        pytest.param(
            "s3://models/mine/model-q8.gguf",
            "is not on this machine, and a plan downloads nothing; give with --config the file, or the config.json",
            id="a GGUF file in a bucket",
        ),
        pytest.param("file://./nowhere", "the file cannot be read: No such file", id="a folder that is not there"),
        pytest.param("file://./broken", "the file is not JSON", id="a config that is no JSON"),
        pytest.param("file://./list", "holds no JSON object", id="a config that is a list"),
        pytest.param("file://./rwkv", "type 'rwkv' is not supported", id="a model that is not supported"),
        pytest.param("file://./huge", "too many for a config.json", id="a config that is too large"),
    ],
)
def test_a_shape_that_is_not_known_is_said(model: str, words: str, tmp_path: Path) -> None:
    texts = {"broken": "{", "list": "[]", "rwkv": '{"model_type": "rwkv"}', "huge": " " * (1 << 20) + "{}"}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        written(tmp_path / name, text, "config.json")
    with pytest.raises(CannotPlanError, match=words):
        planned(written(tmp_path, CLASSIFICATION.replace("MODEL", f'"{model}"')), memory="16")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(JOB, "there is no FineTuneProfile named large here, so the memory", id="no profile"),
        pytest.param(JOB, "as --memory 80Gi, or by --profile the file of a profile", id="no memory"),
        pytest.param(
            JOB + "---" + PROFILE.replace("large", "small"), r"named large here \(only small\)", id="another profile"
        ),
        pytest.param(
            JOB.replace("profileRef: {name: large}", "profileRef: {}"),
            "the job names no profile, and there is none named default here",
            id="a job that names no profile",
        ),
        pytest.param(
            JOB + "---" + PROFILE.replace("accelerator: {memory: 80Gi}, ", ""),
            "profile large has no accelerator",
            id="a profile of CPUs",
        ),
        pytest.param(PROFILE, "there are 0; put each", id="no job"),
        pytest.param(JOB + "---" + JOB.replace("assistant", "other"), "there are 2; put each", id="two jobs"),
        pytest.param(JOB.replace("CausalLM", "Guess"), "job.yaml:7: spec.task.type", id="a manifest that is wrong"),
    ],
)
def test_what_is_missing_is_said(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(CannotPlanError, match=words):
        planned(written(tmp_path, text))


def test_nodes_take_the_place_of_the_jobs_workers(tmp_path: Path) -> None:
    job = written(tmp_path, JOB)
    found = plan_file(job, None, accelerator_memory="80", config=None, nodes=(2, 4))
    assert isinstance(found, TrainingPlan)
    assert "on 8 workers needs" in found.sentence
    assert found.host.workers == 4
    assert shown(found, width=200)[-1].startswith(
        "Each worker also needs 17.9 GiB of main memory, and a pod of 4 workers"
    )


def test_a_profile_whose_pods_have_too_little_is_told_so(tmp_path: Path) -> None:
    found = planned(written(tmp_path, JOB + "---" + PROFILE.replace("64Gi", "8Gi")))
    assert isinstance(found, Refusal)
    assert "worker.memory of profile large is 8Gi" in found.proposal


def test_the_page_on_planning_shows_what_is_printed(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (manifest,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    pages = re.findall(r"^```text\n(.*?)\n^```$", page, re.DOTALL | re.MULTILINE)
    job = written(tmp_path, manifest)
    for text, memory in zip(pages, (None, "24"), strict=True):
        assert [line.rstrip() for line in shown(planned(job, memory=memory), width=100)] == text.splitlines()
