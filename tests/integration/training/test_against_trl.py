"""Preferences beside TRL's DPOTrainer: the same losses, rewards and margins over the same batches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.split import split
from kubetune_trainer.tasks.preference import Preference
from support.bases import base
from support.runs_in_one_process import run_of
from support.tiny_models import job_for
from support.tiny_tokenizers import WORDS

ROWS, BATCH, EPOCHS = 50, 10, 4
RATE, EPSILON, BETA = 5e-3, 1e-4, 0.5
COLUMNS = ("prompt", "chosen", "rejected")
TOLERANCE = 1e-3


def rows() -> list[Row]:
    """In the order in which the split has them."""
    random = np.random.default_rng(0)
    found = []
    for number in range(ROWS):
        prompt, chosen, rejected = (" ".join(random.choice(WORDS, size)) for size in (4, 3, 5))
        found.append(Row(COLUMNS, (f"{prompt} {number}", chosen, rejected), "file:///pairs.jsonl", number + 1))
    return split(found, validation=0, test=0, seed=0, key=Preference().group, stratum=lambda _: None)["train"]


class InOrder(DPOTrainer):
    """TRL's trainer, told in which order the rows come, and asked for every loss."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(train_dataset or self.train_dataset)


def theirs(folder: Path, out: Path) -> list[dict[str, float]]:
    given = rows()
    orders = [np.random.default_rng([0, epoch]).permutation(ROWS) for epoch in range(EPOCHS)]
    conversations = [
        {
            "prompt": [{"role": "user", "content": given[number]["prompt"]}],
            **{answer: [{"role": "assistant", "content": given[number][answer]}] for answer in ("chosen", "rejected")},
        }
        for number in np.concatenate(orders)
    ]
    trainer = InOrder(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=DPOConfig(
            output_dir=str(out), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=RATE, beta=BETA,
            adam_epsilon=EPSILON, lr_scheduler_type="constant", max_grad_norm=0, use_cpu=True, bf16=False,
            gradient_checkpointing=False, save_strategy="no", report_to="none", disable_tqdm=True, logging_steps=1,
            max_length=64, dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(conversations),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.filterwarnings("ignore")  # their own, and DeepSpeed's
def test_every_loss_is_that_of_the_dpo_trainer(tmp_path: Path) -> None:
    folder, data = base("llama", tmp_path / "base"), tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(dict(zip(COLUMNS, row.values, strict=True))) + "\n" for row in rows()))
    dataset = {"uri": data.as_uri(), "columns": {name: name for name in COLUMNS}}
    job = job_for(
        "Preference", folder, dataset={**dataset, "testFraction": 0, "validationFraction": 0},
        training={
            "globalBatchSize": BATCH, "microBatchSize": 5, "learningRate": RATE, "epochs": EPOCHS, "maxGradientNorm": 0,
            "schedule": {"type": "Constant"}, "optimizer": {"epsilon": EPSILON},
        },
        output={"uri": (tmp_path / "out").as_uri()},
    )  # fmt: skip
    job = job.model_copy(update={"spec": job.spec.model_copy(update={"task": with_beta(job.spec.task)})})
    published = Path(run_of(job, tmp_path).artifact.uri.removeprefix("file://")).parent
    ours = [json.loads(line) for line in (published / "metrics.jsonl").read_text().splitlines()]
    losses, peers = [step["loss"] for step in ours if step["type"] == "step"], theirs(folder, tmp_path / "trl")
    assert len(losses) == len(peers) == 20
    assert losses == pytest.approx([peer["loss"] for peer in peers], abs=TOLERANCE)
    assert losses[0] == pytest.approx(np.log(2), abs=1e-5)
    assert losses[-1] < 0.5 * losses[0]


def with_beta(task: Any) -> Any:
    return type(task).model_validate({**task.model_dump(by_alias=True), "preference": {"beta": BETA}})
