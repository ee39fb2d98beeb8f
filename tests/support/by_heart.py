"""Tiny language models that learn a few answers by heart, without DeepSpeed: in a second or two."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Row
from kubetune_trainer.methods.full import Full
from kubetune_trainer.model.load import load_model, load_tokenizer
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.collate import collate
from support.tiny_models import CONFIGS, spec_for

TASK = CausalLanguageModel()
KNOWN = 0.02
"""The loss at which any way of sampling finds the answer."""


def base_model(folder: Path, family: str, tokenizer: Any, generation: Mapping[str, Any]) -> Path:
    """A pretrained model of random weights, whose generation configuration says no more than this."""
    config = CONFIGS[family].__class__.from_dict(CONFIGS[family].to_dict() | {"vocab_size": len(tokenizer)})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(**generation)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def learn_by_heart(base: Path, folder: Path, rows: Sequence[Row], most_steps: int = 400) -> EncodedSplit:
    """Trains the model in `base` until it knows the rows and publishes it in `folder`; what it was trained on."""
    tokenizer = load_tokenizer(base)
    split = TASK.encode(rows, tokenizer, 64, Vocabulary()).split
    loaded = load_model(base, spec_for("CausalLM", base), TASK, Vocabulary(), tokenizer)
    method = Full(spec_for("CausalLM").method.freeze)
    trainable = method.attach(loaded, precision="FP32", reach=lambda: 1.0)
    torch.set_num_threads(1)  # so small a model only waits for more
    batch = collate(split, np.arange(split.rows), tokenizer.pad_token_id, torch.device("cpu"))
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=1e-2)
    for _ in range(most_steps):
        loss = TASK.losses(loaded.model, batch, Vocabulary()).rows.sum() / split.targets.per_row(split).sum()
        if loss < KNOWN:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    method.write(trainable, loaded.model.state_dict().items(), folder)
    tokenizer.save_pretrained(folder)
    return split
