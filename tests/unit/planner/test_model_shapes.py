"""The shape of a model, held against real models of transformers and against what their authors publish."""

import re
from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    DebertaV2Config,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    RobertaConfig,
    T5Config,
)
from transformers.pytorch_utils import Conv1D

from kubetune_api.families import FAMILIES
from kubetune_planner.catalogue import names, shape_of
from kubetune_planner.encoder_decoder import UNLIMITED, EncoderDecoderShape, shape_from_config
from kubetune_planner.memory import labels_of
from kubetune_planner.methods import full
from kubetune_planner.shape import ModelShape
from kubetune_trainer.methods.freeze import freeze
from support.tiny_models import CONFIGS, spec_for, task_for, tiny_model

SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
VARIANTS: dict[str, PretrainedConfig] = {
    "grouped queries with heads of their own width": LlamaConfig(**SIZES, num_key_value_heads=2, head_dim=16),
    "biases everywhere": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "a tied output layer": Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True),
    "an output layer of its own": MistralConfig(**SIZES, num_key_value_heads=1, tie_word_embeddings=False),
    "embeddings as wide as the layers": ElectraConfig(**SIZES, embedding_size=32),
    "layers that share their weights": AlbertConfig(**SIZES, embedding_size=16),
    "relative positions with projections of their own, and a convolution": DebertaV2Config(
        **SIZES, relative_attention=True, pos_att_type=["c2p", "p2c"], norm_rel_ebd="layer_norm", conv_kernel_size=3
    ),
    "no relative positions": DebertaV2Config(**SIZES),
    "one kind of tokens": RobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1),
    "fewer layers in the decoder": BartConfig(
        vocab_size=64,
        d_model=32,
        encoder_layers=3,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=80,
        max_position_embeddings=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    ),
    "gates and heads of their own width": T5Config(
        vocab_size=64,
        d_model=32,
        d_kv=12,
        d_ff=48,
        num_layers=2,
        num_decoder_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    ),
    "a feed-forward part of a width of its own": GPT2Config(
        vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_inner=80, n_positions=32, bos_token_id=2, eos_token_id=2
    ),
}
PUBLISHED = {
    "google-bert/bert-base-uncased": 110e6,
    "google-bert/bert-large-uncased": 335e6,
    "google-bert/bert-base-cased": 108.3e6,
    "google-bert/bert-large-cased": 334e6,
    "google-bert/bert-base-multilingual-cased": 178e6,
    "FacebookAI/roberta-base": 125e6,
    "FacebookAI/roberta-large": 355e6,
    "distilbert/distilroberta-base": 82e6,
    "FacebookAI/xlm-roberta-base": 278e6,
    "FacebookAI/xlm-roberta-large": 560e6,
    "distilbert/distilbert-base-uncased": 66e6,
    "distilbert/distilbert-base-cased": 65.2e6,
    "distilbert/distilbert-base-multilingual-cased": 134.7e6,
    "google/electra-small-discriminator": 13.5e6,
    "google/electra-base-discriminator": 109e6,
    "google/electra-large-discriminator": 334e6,
    "sentence-transformers/all-MiniLM-L6-v2": 22.7e6,
    "sentence-transformers/all-MiniLM-L12-v2": 33.4e6,
    "nreimers/MiniLM-L6-H384-uncased": 22.7e6,
    "microsoft/MiniLM-L12-H384-uncased": 33.4e6,
    "albert/albert-base-v2": 11.7e6,
    "albert/albert-large-v2": 17.7e6,
    "albert/albert-xlarge-v2": 58.7e6,
    "albert/albert-xxlarge-v2": 222.6e6,
    "microsoft/deberta-v3-xsmall": 70.7e6,
    "microsoft/deberta-v3-small": 141.3e6,
    "microsoft/deberta-v3-base": 184e6,
    "microsoft/deberta-v3-large": 434e6,
    "microsoft/mdeberta-v3-base": 278e6,
    "answerdotai/ModernBERT-base": 149e6,
    "answerdotai/ModernBERT-large": 395e6,
    "microsoft/mpnet-base": 109.5e6,
    "sentence-transformers/all-mpnet-base-v2": 109.5e6,
    "openai-community/gpt2": 124.4e6,
    "openai-community/gpt2-medium": 355e6,
    "openai-community/gpt2-large": 774e6,
    "openai-community/gpt2-xl": 1.558e9,
    "distilbert/distilgpt2": 82e6,
    "HuggingFaceTB/SmolLM2-135M": 134.5e6,
    "HuggingFaceTB/SmolLM2-360M": 362e6,
    "HuggingFaceTB/SmolLM2-1.7B": 1.71e9,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1.1e9,
    "meta-llama/Llama-2-7b-hf": 6.74e9,
    "meta-llama/Llama-2-13b-hf": 13.02e9,
    "meta-llama/Llama-3.2-1B": 1.236e9,
    "meta-llama/Llama-3.2-3B": 3.213e9,
    "meta-llama/Meta-Llama-3-8B": 8.03e9,
    "meta-llama/Llama-3.1-8B": 8.03e9,
    "meta-llama/Llama-3.1-70B": 70.55e9,
    "mistralai/Mistral-7B-v0.1": 7.242e9,
    "mistralai/Mistral-7B-v0.3": 7.248e9,
    "Qwen/Qwen2.5-0.5B": 494e6,
    "Qwen/Qwen2.5-1.5B": 1.544e9,
    "Qwen/Qwen2.5-3B": 3.086e9,
    "Qwen/Qwen2.5-7B": 7.616e9,
    "Qwen/Qwen2.5-14B": 14.77e9,
    "Qwen/Qwen2.5-32B": 32.76e9,
    "Qwen/Qwen2.5-72B": 72.71e9,
    "Qwen/Qwen3-0.6B": 0.6e9,
    "Qwen/Qwen3-1.7B": 1.72e9,
    "Qwen/Qwen3-4B": 4.02e9,
    "Qwen/Qwen3-8B": 8.2e9,
    "Qwen/Qwen3-14B": 14.8e9,
    "Qwen/Qwen3-32B": 32.8e9,
    "google/gemma-2-2b": 2.61e9,
    "google/gemma-2-9b": 9.24e9,
    "google/gemma-2-27b": 27.2e9,
    "google/gemma-3-1b": 1e9,
    "google/gemma-3-270m": 268e6,
    "microsoft/Phi-3-mini-4k": 3.82e9,
    "microsoft/Phi-3-mini-128k": 3.82e9,
    "microsoft/Phi-3.5-mini": 3.82e9,
    "microsoft/Phi-3-medium-4k": 14e9,
    "microsoft/phi-4": 14.7e9,
    "microsoft/Phi-4-mini": 3.84e9,
    "HuggingFaceTB/SmolLM3-3B": 3.08e9,
    "allenai/OLMo-2-0425-1B": 1.48e9,
    "allenai/OLMo-2-1124-7B": 7.3e9,
    "allenai/OLMo-2-1124-13B": 13.7e9,
    "allenai/OLMo-2-0325-32B": 32.2e9,
    "EleutherAI/pythia-70m": 70_426_624,
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-410m": 405_334_016,
    "EleutherAI/pythia-1b": 1_011_781_632,
    "EleutherAI/pythia-1.4b": 1_414_647_808,
    "EleutherAI/pythia-2.8b": 2_775_208_960,
    "EleutherAI/pythia-6.9b": 6_857_302_016,
    "EleutherAI/pythia-12b": 11_846_072_320,
    "EleutherAI/gpt-neox-20b": 20.55e9,
    "mistralai/Mixtral-8x7B-v0.1": 46.7e9,
    "mistralai/Mixtral-8x22B-v0.1": 140.6e9,
    "google-t5/t5-small": 60.5e6,
    "google-t5/t5-base": 222.9e6,
    "google-t5/t5-large": 737.7e6,
    "google/flan-t5-small": 76.96e6,
    "google/flan-t5-base": 247.6e6,
    "google/flan-t5-large": 783.2e6,
    "google/flan-t5-xl": 2.85e9,
    "google/mt5-small": 300.2e6,
    "google/mt5-base": 582.4e6,
    "facebook/bart-base": 139.4e6,
    "facebook/bart-large": 406.3e6,
    "facebook/bart-large-cnn": 406.3e6,
    "google/pegasus-xsum": 569.8e6,
    "facebook/mbart-large-cc25": 610.9e6,
    "facebook/mbart-large-50": 610.9e6,
}
"""As their model cards and the hub say it; an encoder's without the head of its pretraining."""


# What tells the members of a size apart: before and after they learned to answer.
_VARIANT = re.compile(r"-(Instruct|instruct|it|pt|Base)(?=-|$)")


def count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_paper(loader: Any, config: PretrainedConfig) -> Any:
    """A model without weights."""
    with torch.device("meta"):
        return loader.from_config(config)


def loader_of(shape: ModelShape) -> Any:
    if isinstance(shape, EncoderDecoderShape):
        return AutoModelForSeq2SeqLM
    return AutoModelForCausalLM if shape.decoder else AutoModel


def all_configs(*, classifiers: bool = False) -> list[Any]:
    known = (CONFIGS | VARIANTS).items()
    taken = [one for one in known if not (classifiers and FAMILIES[one[1].model_type].encoder_decoder)]
    return [pytest.param(config, id=name) for name, config in taken]


@pytest.mark.parametrize("config", all_configs())
def test_a_pretrained_model_has_as_many_parameters_as_its_shape_says(config: PretrainedConfig) -> None:
    shape = shape_from_config(config.to_dict())
    loader = loader_of(shape)
    assert shape.parameters == count(on_paper(loader, config))


@pytest.mark.parametrize("config", all_configs(classifiers=True))
def test_so_has_a_classifier(config: PretrainedConfig) -> None:
    labelled = type(config).from_dict({**config.to_dict(), "num_labels": 5})
    shape = shape_from_config(config.to_dict())
    assert shape.parameters_for(5) == count(on_paper(AutoModelForSequenceClassification, labelled))


@pytest.mark.parametrize("config", all_configs(classifiers=True))
def test_its_layers_are_as_many_linear_ones_as_are_adapted(config: PretrainedConfig) -> None:
    shape = ModelShape.from_config(config.to_dict())
    model = on_paper(AutoModel, config)
    layers = model.get_submodule(FAMILIES[shape.family].layers)
    linear = [each for each in layers[-1].modules() if isinstance(each, (torch.nn.Linear, Conv1D))]
    assert sorted(width for width in shape.linear_matrices) == sorted(
        tuple(each.weight.shape[:: 1 if isinstance(each, Conv1D) else -1]) for each in linear
    )


@pytest.mark.parametrize("embeddings", [False, True], ids=["embeddings learn", "embeddings frozen"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_freezing_leaves_as_many_to_train_as_the_planner_says(family: str, embeddings: bool) -> None:
    spec = spec_for(task_for(family), method={"freeze": {"embeddings": embeddings, "bottomLayers": 2}})
    model = tiny_model(family, labels=None if FAMILIES[family].decoder else 2)
    freeze(model, model.base_model, FAMILIES[family], spec.method.freeze)
    shape = shape_from_config(CONFIGS[family].to_dict())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert full(spec.method, shape, labels_of(spec)).parameters == trained


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_sequence_is_as_long_as_the_model_can_take(family: str) -> None:
    unlimited = "positions" not in FAMILIES[family].names
    assert shape_from_config(CONFIGS[family].to_dict()).positions == (UNLIMITED if unlimited else 64)


@pytest.mark.parametrize("name", names())
def test_models_of_the_catalogue_have_their_published_size(name: str) -> None:
    published = PUBLISHED[name if name in PUBLISHED else _VARIANT.sub("", name)]
    shape = shape_of(f"hf://{name}")
    assert shape is not None
    assert shape.parameters == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    "uri", ["hf://no/such-model", "s3://google-bert/bert-base-uncased", "file:///openai-community"]
)
def test_other_models_are_not_in_the_catalogue(uri: str) -> None:
    assert shape_of(uri) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"model_type": "rwkv"}, "type 'rwkv' is not supported; supported types are ", id="another family"),
        pytest.param(
            {"model_type": "gemma3"},
            "a model of type 'gemma3' reads images too, of which kubetune trains nothing; its text models, such as"
            " google/gemma-3-1b-it, are of type 'gemma3_text'",
            id="a model of texts and images",
        ),
        pytest.param({"model_type": None}, "type 'None' is not supported", id="no family"),
        pytest.param({"hidden_size": None}, "lacks hidden_size; take the file", id="a size that is missing"),
        pytest.param({"hidden_size": "768"}, "hidden_size as '768'; it is a whole number", id="a size in quotes"),
        pytest.param({"num_hidden_layers": 0}, "num_hidden_layers as 0; it is a whole number", id="no layer"),
    ],
)
def test_a_config_that_says_too_little_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        shape_from_config(CONFIGS["bert"].to_dict() | change)
