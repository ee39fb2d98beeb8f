"""What adapters keep for the backward pass beside the layers, held against what autograd keeps with peft's."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, GPT2Config, LlamaConfig, PretrainedConfig

from kubetune_api.families import FAMILIES
from kubetune_api.job import Model
from kubetune_planner.activations import Passes
from kubetune_planner.methods import METHODS
from kubetune_planner.shape import ModelShape
from kubetune_trainer.methods import method_of
from kubetune_trainer.model.load import LoadedModel
from support.autograd import kept_by_autograd
from support.tiny_models import spec_for

ROWS, LENGTH, LAYERS = 3, 64, 3
_SIZES = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(
        **_SIZES, intermediate_size=160, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ),
    "llama": LlamaConfig(**_SIZES, intermediate_size=160, num_key_value_heads=2, use_cache=False),
    "gpt2": GPT2Config(
        vocab_size=128, n_embd=64, n_layer=LAYERS, n_head=4, n_inner=160, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=2, eos_token_id=2, pad_token_id=0, use_cache=False,
    ),
}  # fmt: skip
SETTINGS = {
    "every layer": {},
    "the attention": {"targets": "Attention"},
    "dropout": {"dropout": 0.1},
    "dropout in the attention": {"targets": "Attention", "dropout": 0.1},
    "DoRA": {"variant": "DoRA"},
}


@pytest.mark.parametrize("number", [4, 2], ids=["32 bits", "16 bits"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("family", CONFIGS)
def test_no_more_is_kept_than_is_counted(family: str, settings: dict[str, Any], number: int) -> None:
    spec = spec_for("SequenceClassification", method={"type": "LoRA", "lora": {"rank": 4, **settings}}).resolved
    config = CONFIGS[family]
    model = AutoModelForSequenceClassification.from_config(config)
    loaded = LoadedModel(model, FAMILIES[family], {}, None, (), None, Model(uri="file:///base"))  # type: ignore[arg-type]
    method_of(spec.method).attach(loaded, precision="FP32" if number == 4 else "BF16", reach=lambda: 1.0)
    mask = torch.ones((ROWS, LENGTH), dtype=torch.int64)
    mask[0, LENGTH // 2 :] = 0
    given = {"input_ids": torch.full((ROWS, LENGTH), 5), "attention_mask": mask}
    kept = kept_by_autograd(model.to(torch.float32 if number == 4 else torch.bfloat16).train(), given)

    shape = ModelShape.from_config(config.to_dict())
    trained = METHODS["LoRA"](spec.method, shape, 2)
    passes = Passes(shape, ROWS, LENGTH, number)
    counted = passes.kept_bytes(trained.kept_layers) + passes.tokens * trained.beside(number)
    # Layers that are not adapted keep less than those that learn themselves.
    assert 0.95 * kept <= counted <= 1.45 * kept, counted / kept
