"""Preferences beside TRL's trainers: the same losses, rewards and margins over the same batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from kubetune_trainer.data.rows import Row
from kubetune_trainer.tasks.preference import Preference
from support.bases import base
from support.peers import (
    ARGUMENTS,
    ROWS,
    STEPS,
    TOLERANCE,
    InOrder,
    as_split,
    in_batches,
    losses_of,
    our_losses,
)
from support.tiny_tokenizers import WORDS

BETA, GAMMA = 0.5, 0.2
COLUMNS = ("prompt", "chosen", "rejected")


def rows() -> list[Row]:
    """In the order in which the split has them."""
    random = np.random.default_rng(0)
    found = []
    for number in range(ROWS):
        prompt, chosen, rejected = (" ".join(random.choice(WORDS, size)) for size in (4, 3, 5))
        found.append(Row(COLUMNS, (f"{prompt} {number}", chosen, rejected), "file:///pairs.jsonl", number + 1))
    return as_split(found, Preference())


def turns(row: Row) -> dict[str, Any]:
    """A row as a conversation."""
    answers = {answer: [{"role": "assistant", "content": row[answer]}] for answer in ("chosen", "rejected")}
    return {"prompt": [{"role": "user", "content": row["prompt"]}], **answers}


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
) -> list[float]:
    return losses_of(
        trainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            args=config(output_dir=str(out), beta=BETA, max_length=64, **ARGUMENTS, **settings),
            train_dataset=Dataset.from_list([turns(row) for row in in_batches(rows())]),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
    )


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
    given = [dict(zip(COLUMNS, row.values, strict=True)) for row in rows()]
    losses = our_losses("Preference", folder, given, tmp_path, preference={"beta": BETA, **settings})
    peers = theirs(trainer, config, folder, tmp_path / "trl", their_settings)
    assert len(losses) == len(peers) == STEPS == 20
    assert losses == pytest.approx(peers, abs=TOLERANCE)
    assert losses[-1] < 0.9 * losses[0]
    if not settings:
        assert losses[0] == pytest.approx(np.log(2), abs=1e-5)
