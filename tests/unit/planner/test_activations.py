"""Activations, held against what autograd keeps of real models."""

import gc
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import (
    AlbertConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    ModernBertConfig,
    MPNetConfig,
    Olmo2Config,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    SmolLM3Config,
    XLMRobertaConfig,
)

from kubetune_api.families import FAMILIES
from kubetune_planner.activations import Passes, turn_bytes
from kubetune_planner.passes import passes_of
from kubetune_planner.shape import ModelShape
from kubetune_trainer.tasks.choice_losses import ChoiceLoss
from kubetune_trainer.tasks.token_losses import token_losses
from kubetune_trainer.training.activation_checkpointing import compute_again
from kubetune_trainer.training.in_chunks import judge_in_chunks
from kubetune_trainer.training.joined import join_rows
from kubetune_trainer.training.noise import add_noise
from support.autograd import kept_by_autograd
from support.tiny_models import spec_for

ROWS, LENGTH, VOCABULARY, LAYERS = 3, 64, 128, 4
_SIZES = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
_ENCODER = {
    **_SIZES,
    "intermediate_size": 160,
    "max_position_embeddings": 128,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
_DEBERTA = {
    "relative_attention": True,
    "position_buckets": 16,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
_DECODER = {**_SIZES, "intermediate_size": 160, "num_key_value_heads": 2, "pad_token_id": 0, "use_cache": False}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**_ENCODER),
    "electra": ElectraConfig(**_ENCODER, embedding_size=32),
    "albert": AlbertConfig(**_ENCODER, embedding_size=32),
    "deberta-v2": DebertaV2Config(**_ENCODER, **_DEBERTA, share_att_key=True),
    "deberta-v2 with projections of positions": DebertaV2Config(**_ENCODER, **_DEBERTA | {"pos_att_type": ["p2c"]}),
    "modernbert": ModernBertConfig(**_SIZES, intermediate_size=160, pad_token_id=0),
    "mpnet": MPNetConfig(**_ENCODER),
    "roberta": RobertaConfig(**_ENCODER),
    "xlm-roberta": XLMRobertaConfig(**_ENCODER),
    "distilbert": DistilBertConfig(
        vocab_size=VOCABULARY, dim=64, n_layers=LAYERS, n_heads=4, hidden_dim=160, dropout=0.0, attention_dropout=0.0,
        max_position_embeddings=128,
    ),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=64, n_layer=LAYERS, n_head=4, n_inner=160, n_positions=128, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=2, eos_token_id=2, pad_token_id=0, use_cache=False,
    ),
    "llama": LlamaConfig(**_DECODER),
    "llama with wide heads": LlamaConfig(**_DECODER, head_dim=32),
    "mistral": MistralConfig(**_DECODER),
    "mixtral": MixtralConfig(**_DECODER, num_local_experts=4),
    "qwen2": Qwen2Config(**_DECODER),
    "qwen3": Qwen3Config(**_DECODER, head_dim=32),
    "gemma2": Gemma2Config(**_DECODER, head_dim=32),
    "gemma2 without bounds of the scores": Gemma2Config(**_DECODER, head_dim=32, attn_logit_softcapping=None),
    "gemma3_text": Gemma3TextConfig(**_DECODER, head_dim=32),
    "phi3": Phi3Config(**_DECODER),
    "phi3 with a head of keys for each of queries": Phi3Config(**_DECODER | {"num_key_value_heads": 4}),
    "smollm3": SmolLM3Config(**_DECODER),
    "olmo2": Olmo2Config(**_DECODER),
    "gpt_neox": GPTNeoXConfig(**_SIZES, intermediate_size=160, pad_token_id=0, use_cache=False),
}  # fmt: skip
DTYPES = {4: torch.float32, 2: torch.bfloat16}


def inputs(rows: int, length: int) -> dict[str, torch.Tensor]:
    """Rows of which the first is half padding, so that there is a mask."""
    mask = torch.ones((rows, length), dtype=torch.int64)
    mask[0, length // 2 :] = 0
    return {"input_ids": torch.full((rows, length), 5), "attention_mask": mask}


def largest_allocation(function: Any) -> int:
    """The most bytes that torch had allocated at a time, beyond what was there before."""
    gc.collect()  # what goes meanwhile would be taken off
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    allocated = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        most = max(most, allocated)
    return most


@pytest.mark.parametrize("number", DTYPES, ids=["32 bits", "16 bits"])
@pytest.mark.parametrize("family", CONFIGS)
def test_layers_keep_what_autograd_keeps(family: str, number: int) -> None:
    config = CONFIGS[family]
    model = AutoModelForSequenceClassification.from_config(config).to(DTYPES[number])
    passes = Passes(ModelShape.from_config(config.to_dict()), ROWS, LENGTH, number)
    assert passes.kept_bytes(LAYERS) == pytest.approx(kept_by_autograd(model, inputs(ROWS, LENGTH)), rel=0.02)


@pytest.mark.parametrize("family", [name for name in CONFIGS if FAMILIES[CONFIGS[name].model_type].joins_rows])
def test_rows_that_are_joined_keep_no_mask(family: str) -> None:
    config = CONFIGS[family]
    model = AutoModelForSequenceClassification.from_config(config)
    join_rows(model)
    shape = ModelShape.from_config(config.to_dict())
    given = inputs(ROWS, LENGTH)
    given["attention_mask"][:] = 1
    said = Passes(shape, ROWS, LENGTH, 4, joined=True).kept_bytes(LAYERS)
    assert said == pytest.approx(kept_by_autograd(model, given), rel=0.06)
    longer = Passes(shape, ROWS, 2 * LENGTH, 4, joined=True).kept_bytes(LAYERS)
    assert longer == 2 * said, "no part of it grows with the square of the length"


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_a_pass_whose_layers_are_computed_again_needs_no_more_than_is_said(family: str) -> None:
    config = CONFIGS[family]
    loader = AutoModelForCausalLM if FAMILIES[config.model_type].decoder else AutoModelForSequenceClassification
    model, shape = loader.from_config(config), ModelShape.from_config(config.to_dict())
    model.train()
    given = inputs(8, 96)
    plain, again = (
        Passes(shape, 8, 96, 4, again=again).peak_bytes(kept_layers=LAYERS, language_model=shape.decoder)
        for again in (False, True)
    )
    assert again < plain / 2

    def both_passes() -> None:
        model(**given).logits.float().log_softmax(dim=-1).sum().backward()

    compute_again(model)
    peak = largest_allocation(both_passes)
    assert again * 0.75 <= peak <= again + 4 * shape.parameters_for(None if shape.decoder else 2)


def test_a_loss_in_chunks_needs_no_more_than_is_said() -> None:
    config = LlamaConfig.from_dict({**CONFIGS["llama"].to_dict(), "vocab_size": 5000})
    model = AutoModelForCausalLM.from_config(config)
    at_a_time, shape, given = 5000 * 20, ModelShape.from_config(config.to_dict()), inputs(8, LENGTH)

    def both_passes() -> None:
        token_losses(model, given, given["input_ids"][:, 1:], ChoiceLoss())[0].sum().backward()

    judge_in_chunks(model, at_a_time)
    peak = largest_allocation(both_passes)
    passes = Passes(shape, 8, LENGTH, 4, joined=True)
    turn = turn_bytes(shape, passes.tokens, 4, at_a_time=at_a_time)
    assert turn < turn_bytes(shape, passes.tokens, 4) / 10
    said = passes.kept_bytes(LAYERS) + turn
    gradients = 4 * shape.parameters_for(None)
    assert said * 0.85 <= peak <= said + gradients


def test_frozen_layers_on_frozen_embeddings_keep_nothing() -> None:
    model = AutoModelForSequenceClassification.from_config(CONFIGS["bert"])
    for module in (model.bert.embeddings, *model.bert.encoder.layer[:3]):
        module.requires_grad_(False)
    passes = Passes(ModelShape.from_config(CONFIGS["bert"].to_dict()), ROWS, LENGTH, 4)
    assert passes.kept_bytes(LAYERS - 3) == pytest.approx(kept_by_autograd(model, inputs(ROWS, LENGTH)), rel=0.1)


@pytest.mark.parametrize("number", DTYPES, ids=["32 bits", "16 bits"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1], ids=["plain labels", "smoothed labels"])
@pytest.mark.parametrize("vocabulary", [5000, 50], ids=["logits weigh most", "layers weigh most"])
def test_a_pass_of_a_language_model_needs_no_more_than_is_said(vocabulary: int, smoothing: float, number: int) -> None:
    """The gradients of the weights, which the planner counts elsewhere, are added to what is said."""
    config = LlamaConfig.from_dict({**CONFIGS["llama"].to_dict(), "vocab_size": vocabulary})
    model = AutoModelForCausalLM.from_config(config).to(DTYPES[number])
    shape = ModelShape.from_config(config.to_dict())

    def both_passes() -> None:
        given = inputs(ROWS, LENGTH)
        token_losses(model, given, given["input_ids"][:, 1:], ChoiceLoss(smoothing))[0].sum().backward()

    peak = largest_allocation(both_passes)
    spec = spec_for("CausalLM", task={"type": "CausalLM", "maxLength": LENGTH}, training={"labelSmoothing": smoothing})
    said = passes_of(shape, spec, ROWS, number).peak_bytes(kept_layers=LAYERS, language_model=True)
    assert said * 0.97 <= peak <= said + number * shape.parameters_for(None)


def test_noise_on_the_embeddings_keeps_nothing() -> None:
    model = AutoModelForSequenceClassification.from_config(CONFIGS["bert"])
    quiet = kept_by_autograd(model, inputs(ROWS, LENGTH))
    add_noise(model, 5.0)
    assert kept_by_autograd(model.train(), inputs(ROWS, LENGTH)) == quiet


def test_dropout_keeps_a_byte_for_each_number() -> None:
    quiet = ModelShape.from_config(CONFIGS["bert"].to_dict())
    noisy = ModelShape.from_config(CONFIGS["bert"].to_dict() | {"hidden_dropout_prob": 0.1})
    more = Passes(noisy, ROWS, LENGTH, 2).kept_bytes(1) - Passes(quiet, ROWS, LENGTH, 2).kept_bytes(1)
    assert more == 2 * ROWS * LENGTH * 64
