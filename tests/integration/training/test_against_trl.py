"""Preferences beside TRL's trainers: the same losses, rewards and margins over the same batches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.split import split
from kubetune_trainer.tasks.preference import Preference
from support.bases import base
from support.runs_in_one_process import run_of
from support.tiny_models import job_for
from support.tiny_tokenizers import WORDS

ROWS, BATCH, EPOCHS = 50, 10, 4
RATE, EPSILON, BETA, GAMMA = 5e-3, 1e-4, 0.5, 0.2
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


def turns(row: Row) -> dict[str, Any]:
    """A row as a conversation."""
    answers = {answer: [{"role": "assistant", "content": row[answer]}] for answer in ("chosen", "rejected")}
    return {"prompt": [{"role": "user", "content": row["prompt"]}], **answers}


class InOrder:
    """Told in which order the rows come."""

    train_dataset: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(train_dataset or self.train_dataset)


class EndedOnce(InOrder):
    """Without the second token that TRL's older trainers put behind an answer and the line's end after it."""

    def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, list[int]]:
        """See TRL."""
        tokens: dict[str, list[int]] = super().tokenize_row(feature, model)  # type: ignore[misc]
        return {name: ids[:-1] if name.startswith(("chosen", "rejected")) else ids for name, ids in tokens.items()}


class DPO(InOrder, DPOTrainer):
    """TRL's."""


class SimPO(EndedOnce, CPOTrainer):
    """TRL's."""


class ORPO(EndedOnce, ORPOTrainer):
    """TRL's, but for the loss of the chosen answers, which TRL takes over the tokens of prompts and answers of a whole
    batch; LLaMA-Factory, as we do, takes the mean of each answer."""

    def concatenated_forward(self, model: Any, batch: Any) -> Any:
        """See TRL."""
        chosen, *others, _ = super().concatenated_forward(model, batch)
        return (chosen, *others, -chosen.mean())


def theirs(
    trainer: Callable[..., Any], config: Callable[..., Any], folder: Path, out: Path, settings: dict[str, Any]
) -> list[dict[str, float]]:
    given = rows()
    orders = [np.random.default_rng([0, epoch]).permutation(ROWS) for epoch in range(EPOCHS)]
    peer = trainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=config(
            output_dir=str(out), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=RATE, beta=BETA,
            adam_epsilon=EPSILON, lr_scheduler_type="constant", max_grad_norm=0, use_cpu=True, bf16=False,
            gradient_checkpointing=False, save_strategy="no", report_to="none", disable_tqdm=True, logging_steps=1,
            max_length=64, dataloader_pin_memory=False, **settings,
        ),
        train_dataset=Dataset.from_list([turns(given[row]) for row in np.concatenate(orders)]),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    peer.train()
    return [entry for entry in peer.state.log_history if "loss" in entry]


def ours(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> list[float]:
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(dict(zip(COLUMNS, row.values, strict=True))) + "\n" for row in rows()))
    dataset = {"uri": data.as_uri(), "columns": {name: name for name in COLUMNS}}
    job = job_for(
        "Preference", folder, dataset={**dataset, "testFraction": 0, "validationFraction": 0},
        task={"type": "Preference", "preference": {"beta": BETA, **settings}},
        training={
            "globalBatchSize": BATCH, "microBatchSize": 5, "learningRate": RATE, "epochs": EPOCHS, "maxGradientNorm": 0,
            "schedule": {"type": "Constant"}, "optimizer": {"epsilon": EPSILON},
        },
        output={"uri": (tmp_path / "out").as_uri()},
    )  # fmt: skip
    published = Path(run_of(job, tmp_path).artifact.uri.removeprefix("file://")).parent
    lines = [json.loads(line) for line in (published / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["type"] == "step"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base("llama", tmp_path_factory.mktemp("base") / "base")


@pytest.mark.filterwarnings("ignore")  # their own, and DeepSpeed's
@pytest.mark.parametrize(
    ("settings", "trainer", "config", "their_settings"),
    [
        pytest.param({}, DPO, DPOConfig, {}, id="DPO"),
        pytest.param(
            {"loss": "SimPO", "gamma": GAMMA, "labelSmoothing": 0.1},
            SimPO,
            CPOConfig,
            {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": GAMMA, "label_smoothing": 0.1},
            id="SimPO",
        ),
        pytest.param({"loss": "ORPO"}, ORPO, ORPOConfig, {}, id="ORPO"),
    ],
)
def test_every_loss_is_that_of_its_trainer(
    settings: dict[str, Any],
    trainer: Callable[..., Any],
    config: Callable[..., Any],
    their_settings: dict[str, Any],
    folder: Path,
    tmp_path: Path,
) -> None:
    losses = ours(folder, tmp_path, settings)
    peers = theirs(trainer, config, folder, tmp_path / "trl", their_settings)
    assert len(losses) == len(peers) == 20
    assert losses == pytest.approx([peer["loss"] for peer in peers], abs=TOLERANCE)
    assert losses[-1] < 0.9 * losses[0]
    if not settings:
        assert losses[0] == pytest.approx(np.log(2), abs=1e-5)
