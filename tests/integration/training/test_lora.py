"""Whole runs of `LoRA`: what they publish opens in peft, and answers as the run measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from kubetune_trainer.artifact.published import Published
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import Rows, counting_rows, hard_rows, write_csv

# peft asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
HELD_OUT = hard_rows(31, seed=1)
# With the space between them that the whole text is to have.
QUESTIONS = [(prompt, f" {completion}") for prompt, completion in counting_rows(103, seed=1)]


def run(
    folder: Path, family: str, rows: Rows, held_out: Rows, start: Path | None = None, **lora: Any
) -> tuple[Published, Path]:
    """A short run, and the folder of its model; from a new base, or from what is in `start`."""
    classifies = family == "bert"
    header = ("text", "label") if classifies else ("prompt", "completion")
    folder.mkdir(exist_ok=True)
    if start is None:
        saved(tiny_model(family, labels=2 if classifies else None), folder / "base")
    data = {
        "uri": write_csv(folder / "rows.csv", header, rows),
        "columns": dict(zip(header, header, strict=True)),
        "validationFraction": 0,
        "test": {"uri": write_csv(folder / "test.csv", header, held_out)},
    }
    job = job_for(
        "SequenceClassification" if classifies else "CausalLM",
        start or folder / "base",
        dataset=data,
        method={"type": "LoRA", "lora": {"rank": 4} | lora},
        training={"epochs": 1, "maxSteps": 8, "globalBatchSize": 8, "learningRate": 2e-2},
        output={"uri": (folder / "out").as_uri()},
    )
    done = run_of(job, folder)
    (model,) = (folder / "out").rglob("model")
    return done, model


def test_a_classifiers_adapter_answers_as_the_run_measured(tmp_path: Path) -> None:
    done, folder = run(tmp_path, "bert", hard_rows(80), HELD_OUT)
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "base", config=AutoConfig.from_pretrained(folder)
    )
    model = PeftModel.from_pretrained(model, folder).eval()
    assert done.metrics["test/loss"] == pytest.approx(loss_of(model, tokenizer), abs=1e-5)


def test_a_run_goes_on_from_a_published_adapter(tmp_path: Path) -> None:
    _, folder = run(tmp_path / "first", "bert", hard_rows(80), HELD_OUT, targets="Attention")
    done, again = run(tmp_path / "second", "bert", hard_rows(80, seed=2), HELD_OUT, start=folder, rank=None)
    before, after = (load_file(each / "adapter_model.safetensors") for each in (folder, again))
    assert before.keys() == after.keys()
    assert not any(torch.equal(values, after[name]) for name, values in before.items() if ".lora_" in name)
    config = json.loads((again / "adapter_config.json").read_text())
    assert config == json.loads((folder / "adapter_config.json").read_text())
    base = AutoModelForSequenceClassification.from_pretrained(
        config["base_model_name_or_path"], config=AutoConfig.from_pretrained(again)
    )
    tokenizer, model = AutoTokenizer.from_pretrained(again), PeftModel.from_pretrained(base, again).eval()
    assert done.metrics["test/loss"] == pytest.approx(loss_of(model, tokenizer), abs=1e-5)
    manifest = json.loads(next((tmp_path / "second").rglob("manifest.json")).read_text())["provenance"]
    assert manifest["baseModel"]["uri"] == (tmp_path / "first" / "base").as_uri()
    assert manifest["adapter"]["uri"] == folder.as_uri()
    assert manifest["job"]["spec"]["method"]["lora"]["rank"] == 4


def loss_of(model: Any, tokenizer: Any) -> float:
    """Of the classifier, over the held-out rows."""
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text, _ in HELD_OUT])
    return float(cross_entropy(logits, torch.tensor([model.config.label2id[label] for _, label in HELD_OUT])))


def test_a_language_models_adapter_answers_as_the_run_measured(tmp_path: Path) -> None:
    done, folder = run(tmp_path, "llama", QUESTIONS[23:], QUESTIONS[:23], variant="RsLoRA")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    losses, tokens = 0.0, 0
    for prompt, completion in QUESTIONS[:23]:
        asked, answer = tokenizer(prompt)["input_ids"], tokenizer(completion)["input_ids"]
        answer = [*answer, tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([[*asked, *answer]])).logits[0, len(asked) - 1 : -1]
        losses += float(cross_entropy(logits, torch.tensor(answer), reduction="sum"))
        tokens += len(answer)
    assert done.metrics["test/loss"] == pytest.approx(losses / tokens, abs=1e-5)
    assert all(float(each.abs().max()) > 0 for each in load_file(folder / "adapter_model.safetensors").values())
    card = next(folder.parent.glob("README.md")).read_text()
    assert "PeftModel.from_pretrained(model, folder)" in card
    assert "library_name: peft" in card
