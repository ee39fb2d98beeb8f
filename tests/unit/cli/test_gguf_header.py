"""`kubetune plan` of a model in a GGUF file, by the head of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gguf import GGUFWriter
from typer.testing import CliRunner

from kubetune_cli.gguf_header import config_of
from kubetune_cli.main import app
from kubetune_planner.encoder_decoder import shape_from_config
from support.job_cases import CAUSAL, edited

SIZES = {
    "block_count": 3,
    "context_length": 64,
    "embedding_length": 32,
    "feed_forward_length": 48,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
}
TOKENS = [f"t{number}" for number in range(40)]


def written(path: Path, architecture: str = "llama", tensors: tuple[str, ...] = (), **more: int) -> Path:
    writer = GGUFWriter(path, architecture)
    for name, value in (SIZES | more).items():
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_token_list(TOKENS)
    writer.add_chat_template("{{ messages }}")
    for tensor in ("token_embd.weight", *tensors):
        writer.add_tensor(tensor, np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return written(folder / "tiny.gguf")


def planned(folder: Path, uri: str, *options: str) -> Any:
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(edited({**CAUSAL, "spec.model": {"uri": uri}})))
    return CliRunner().invoke(app, ["plan", str(job), "--memory", "8Gi", *options], env={"COLUMNS": "120"})


def test_the_sizes_are_those_of_the_file(model: Path) -> None:
    shape = shape_from_config(config_of(model))
    assert (shape.family, shape.layers, shape.hidden, shape.intermediate) == ("llama", 3, 32, 48)
    assert (shape.heads, shape.kv_heads, shape.head_size, shape.positions, shape.vocabulary) == (4, 2, 8, 64, 40)
    assert shape.tied


def test_so_is_what_follows_from_its_tensors(tmp_path: Path) -> None:
    tensors = ("output.weight", "blk.0.attn_q.bias")
    shape = shape_from_config(config_of(written(tmp_path / "tiny.gguf", tensors=tensors)))
    assert not shape.tied
    assert shape.query_bias


@pytest.mark.parametrize(
    ("architecture", "more", "family"),
    [
        ("qwen3", {"attention.key_length": 16}, "qwen3"),
        ("gemma3", {"attention.key_length": 16}, "gemma3_text"),
        ("gpt2", {}, "gpt2"),
        ("llama", {"expert_count": 4, "expert_used_count": 2}, "mixtral"),
    ],
)
def test_each_architecture_has_its_family(architecture: str, more: dict[str, int], family: str, tmp_path: Path) -> None:
    shape = shape_from_config(config_of(written(tmp_path / "tiny.gguf", architecture, **more)))
    assert (shape.family, shape.experts) == (family, more.get("expert_count", 1))
    assert shape.head_size == more.get("attention.key_length", 8)


@pytest.mark.parametrize("place", ["file://./model", "file://./model/tiny.gguf"])
def test_a_folder_with_the_file_is_planned_as_the_file(model: Path, place: str) -> None:
    result = planned(model.parent.parent, place)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "chosen" in result.output


def test_a_field_is_set_for_the_plan_alone(model: Path) -> None:
    folder = model.parent.parent
    assert (
        "with micro-batches of 2 in"
        in planned(folder, "file://./model", "--set", "spec.training.microBatchSize=2").output
    )
    wrong = planned(folder, "file://./model", "--set", "spec.task.maxLenth=64")
    assert wrong.exit_code == 2
    assert "--set: spec.task.maxLenth: unknown field; did you mean `maxLength`?" in wrong.stderr


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda text: b"PK" + text, "is no GGUF file", id="another file"),
        pytest.param(lambda text: text[:100], "ends within its head; fetch it again", id="half a file"),
        pytest.param(lambda text: text.replace(b"llama", b"mamba"), "'mamba' is not supported", id="another model"),
        pytest.param(lambda text: text[:4] + b"\x63" + text[5:], "is of version 99 of GGUF", id="a version to come"),
        pytest.param(
            lambda text: text[:24] + b"\xff" * 8 + text[32:], "a text in the file has 18446", id="a text without an end"
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(model: Path, damage: Any, words: str) -> None:
    model.write_bytes(damage(model.read_bytes()))
    result = planned(model.parent.parent, "file://./model")
    assert result.exit_code == 2
    assert words in result.stderr
