"""Conversations and plain texts beside TRL's SFTTrainer: the same losses over the same batches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from kubetune_trainer.data.rows import Row
from kubetune_trainer.tasks.causal import CausalLanguageModel
from support.by_heart import base_model
from support.chat_templates import MARKED
from support.peers import ARGUMENTS, ROWS, STEPS, TOLERANCE, InOrder, as_split, in_batches, losses_of, our_losses
from support.tiny_tokenizers import WORDS, gpt_like, llama_like

TASK = CausalLanguageModel()


class SFT(InOrder, SFTTrainer):
    """TRL's."""


def words(random: np.random.Generator, size: int) -> str:
    return " ".join(random.choice(WORDS, size))


def conversations() -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    roles = ("user", "assistant", "user", "assistant")
    return [
        {"messages": [{"role": role, "content": words(random, size)} for role, size in zip(roles, sizes, strict=True)]}
        for sizes in random.integers(1, 6, (ROWS, len(roles)))
    ]


def texts() -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [{"text": words(random, size)} for size in random.integers(4, 20, ROWS)]


def theirs(folder: Path, rows: list[dict[str, Any]], out: Path) -> list[float]:
    (column,) = rows[0]
    values = [text if isinstance(text := row[column], str) else json.dumps(text) for row in rows]
    read = as_split([Row((column,), (value,), "file:///rows.jsonl", 1) for value in values], TASK)
    given = [row[column] if column == "text" else json.loads(row[column]) for row in in_batches(read)]
    peer = SFT(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=SFTConfig(output_dir=str(out), max_length=64, assistant_only_loss=column == "messages", **ARGUMENTS),
        train_dataset=Dataset.from_list([{column: value} for value in given]),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    return losses_of(peer)


@pytest.mark.filterwarnings("ignore")  # their own, and DeepSpeed's
@pytest.mark.parametrize(
    ("rows", "tokenizer"),
    [
        pytest.param(conversations(), gpt_like(MARKED), id="the answers of conversations"),
        pytest.param(texts(), llama_like(), id="every token of texts"),
    ],
)
def test_every_loss_is_that_of_the_sft_trainer(rows: list[dict[str, Any]], tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    folder = base_model(tmp_path / "base", "llama", tokenizer, {"eos_token_id": tokenizer.eos_token_id})
    losses, peers = our_losses("CausalLM", folder, rows, tmp_path), theirs(folder, rows, tmp_path / "trl")
    assert len(losses) == len(peers) == STEPS == 20
    assert losses == pytest.approx(peers, abs=TOLERANCE)
    assert losses[-1] < 0.8 * losses[0]
