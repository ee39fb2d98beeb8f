"""Whole runs of `LoRA`: what they publish opens in peft, and answers as the run measured."""

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


def run(folder: Path, family: str, rows: Rows, held_out: Rows, **lora: Any) -> tuple[Published, Path]:
    """A short run, and the folder of its model."""
    classifies = family == "bert"
    header = ("text", "label") if classifies else ("prompt", "completion")
    saved(tiny_model(family, labels=2 if classifies else None), folder / "base")
    data = {
        "uri": write_csv(folder / "rows.csv", header, rows),
        "columns": dict(zip(header, header, strict=True)),
        "validationFraction": 0,
        "test": {"uri": write_csv(folder / "test.csv", header, held_out)},
    }
    job = job_for(
        "SequenceClassification" if classifies else "CausalLM",
        folder / "base",
        dataset=data,
        method={"type": "LoRA", "lora": {"rank": 4, **lora}},
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
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text, _ in HELD_OUT])
    labels = torch.tensor([model.config.label2id[label] for _, label in HELD_OUT])
    assert done.metrics["test/loss"] == pytest.approx(float(cross_entropy(logits, labels)), abs=1e-5)


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
