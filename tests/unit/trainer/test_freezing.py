"""Freezing, for every family that kubetune trains: exactly the embeddings and the layers that were asked for."""

from typing import Any

import pytest
from transformers import AlbertConfig, AutoModelForSequenceClassification

from kubetune_api.families import FAMILIES
from kubetune_api.job import Freeze
from kubetune_api.reasons import Reason
from kubetune_api.tasks import TASKS
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods.freeze import freeze, may_be_unchanged
from kubetune_trainer.model.families import family_of
from support.tiny_models import CONFIGS, tiny_model

ENCODED = [name for name, row in TASKS.items() if row.model == "Any"]
DECODERS = sorted(name for name, family in FAMILIES.items() if family.decoder)
LIKE_LLAMA = (
    "llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2"
)  # fmt: skip
# The names of the parameters below the first layer, in each family's own words.
EMBEDDINGS = {
    "bert": ("bert.embeddings.",),
    "electra": ("electra.embeddings.", "electra.embeddings_project."),
    "albert": ("albert.embeddings.", "albert.encoder.embedding_hidden_mapping_in."),
    "deberta-v2": ("deberta.embeddings.", "deberta.encoder.rel_embeddings.", "deberta.encoder.LayerNorm."),
    "modernbert": ("model.embeddings.",),
    "mpnet": ("mpnet.embeddings.", "mpnet.encoder.relative_attention_bias."),
    "roberta": ("roberta.embeddings.",),
    "xlm-roberta": ("roberta.embeddings.",),
    "distilbert": ("distilbert.embeddings.",),
    **dict.fromkeys(LIKE_LLAMA, ("model.embed_tokens.",)),
    "gpt_neox": ("gpt_neox.embed_in.",),
    "gpt2": ("transformer.wte.", "transformer.wpe."),
    "t5": ("shared.",),
    "mt5": ("shared.",),
    **dict.fromkeys(
        ("bart", "mbart"),
        (
            "model.shared.",
            *(
                f"model.{stack}.{part}"
                for stack in ("encoder", "decoder")
                for part in ("embed_p", "layernorm_embedding")
            ),
        ),
    ),
    "pegasus": ("model.shared.", "model.encoder.embed_positions.", "model.decoder.embed_positions."),
}
LAYERS = {
    "bert": ("bert.encoder.layer.{}.",),
    "electra": ("electra.encoder.layer.{}.",),
    "albert": ("albert.encoder.albert_layer_groups.{}.",),
    "deberta-v2": ("deberta.encoder.layer.{}.",),
    "modernbert": ("model.layers.{}.",),
    "mpnet": ("mpnet.encoder.layer.{}.",),
    "roberta": ("roberta.encoder.layer.{}.",),
    "xlm-roberta": ("roberta.encoder.layer.{}.",),
    "distilbert": ("distilbert.transformer.layer.{}.",),
    **dict.fromkeys(LIKE_LLAMA, ("model.layers.{}.",)),
    "gpt_neox": ("gpt_neox.layers.{}.",),
    "gpt2": ("transformer.h.{}.",),
    "t5": ("encoder.block.{}.", "decoder.block.{}."),
    "mt5": ("encoder.block.{}.", "decoder.block.{}."),
    **dict.fromkeys(("bart", "pegasus", "mbart"), ("model.encoder.layers.{}.", "model.decoder.layers.{}.")),
}
PAIRS = {name for name, family in FAMILIES.items() if family.encoder_decoder}
SINUSOIDS = {"pegasus": {"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"}}
"""What a family stores and never trains."""


def for_models(*kinds: str) -> list[str]:
    return [name for name, row in TASKS.items() if row.model in kinds]


def frozen_of(model: Any, family: str, *, embeddings: bool = False, bottom_layers: int = 0) -> frozenset[str]:
    return freeze(model, model.base_model, FAMILIES[family], Freeze(embeddings=embeddings, bottom_layers=bottom_layers))


def test_every_family_is_tested() -> None:
    assert CONFIGS.keys() == EMBEDDINGS.keys() == LAYERS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_embeddings_and_the_bottom_layers_are_frozen_and_nothing_else(family: str) -> None:
    model = tiny_model(family, labels=3)
    frozen = frozen_of(model, family, embeddings=True, bottom_layers=2)
    below = (*EMBEDDINGS[family], *(layer.format(number) for layer in LAYERS[family] for number in (0, 1)))
    names = [name for name, _ in model.named_parameters()]
    assert frozen == {name for name in names if name.startswith(below)}
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen
    for start in below:
        assert any(name.startswith(start) for name in frozen), start


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_frozen_unasked(family: str) -> None:
    assert frozen_of(tiny_model(family, labels=2), family) == SINUSOIDS.get(family, set())


def test_a_decoders_tied_output_layer_is_frozen_with_its_embeddings() -> None:
    model = tiny_model("gpt2", labels=None)
    frozen_of(model, "gpt2", embeddings=True)
    assert not model.lm_head.weight.requires_grad


def test_more_layers_than_there_are_are_refused() -> None:
    with pytest.raises(RunError) as caught:
        frozen_of(tiny_model("bert", labels=2), "bert", bottom_layers=4)
    assert str(caught.value) == (
        "spec.method.freeze.bottomLayers: 4 layers cannot be frozen, the model has 3; freeze 3 or fewer"
    )
    assert caught.value.reason == Reason.INVALID_MODEL


def test_the_lower_layers_of_a_model_that_shares_them_cannot_be_frozen() -> None:
    config = AlbertConfig.from_dict(CONFIGS["albert"].to_dict() | {"num_hidden_groups": 1})
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(RunError) as caught:
        frozen_of(model, "albert", bottom_layers=1)
    assert str(caught.value) == (
        "spec.method.freeze.bottomLayers: the layers of this model share the weights of 1, so the lower ones cannot be"
        " frozen without the upper ones; remove bottomLayers"
    )
    assert frozen_of(model, "albert", embeddings=True)


def test_nothing_left_to_train_is_refused() -> None:
    model = tiny_model("gpt2", labels=None)
    model.transformer.ln_f.requires_grad_(False)
    with pytest.raises(RunError) as caught:
        frozen_of(model, "gpt2", embeddings=True, bottom_layers=3)
    assert str(caught.value) == "spec.method.freeze: nothing is left to train; freeze fewer layers"


@pytest.mark.parametrize(
    ("model_type", "task", "message"),
    [
        pytest.param(
            "rwkv",
            "SequenceClassification",
            "spec.model.uri: a model of type 'rwkv' is not supported; supported types are"
            f" {', '.join(sorted(FAMILIES))}",
            id="a family that is not known",
        ),
        pytest.param(
            "bert",
            "CausalLM",
            "spec.task.type: CausalLM needs a decoder, and 'bert' is an encoder; choose a model of type"
            f" {', '.join(DECODERS)}, or train it for {' or '.join(for_models('Any', 'Encoder'))}",
            id="an encoder for a decoder's task",
        ),
        pytest.param(
            "t5",
            "CausalLM",
            "spec.task.type: CausalLM needs a decoder, and 't5' is an encoder with a decoder; choose a model of type"
            f" {', '.join(DECODERS)}, or train it for Seq2Seq",
            id="an encoder with a decoder for a decoder's task",
        ),
        pytest.param(
            "bart",
            "SequenceClassification",
            "spec.task.type: SequenceClassification needs an encoder or a decoder, and 'bart' is an encoder with a"
            f" decoder; choose a model of type {', '.join(sorted(FAMILIES.keys() - PAIRS))}, or train it for Seq2Seq",
            id="an encoder with a decoder for a classification",
        ),
        pytest.param(
            "llama",
            "Seq2Seq",
            "spec.task.type: Seq2Seq needs an encoder with a decoder, and 'llama' is a decoder; choose a model of type"
            f" {', '.join(sorted(PAIRS))}, or train it for {' or '.join(for_models('Any', 'Decoder'))}",
            id="a decoder for what reads and writes",
        ),
    ],
)
def test_a_model_that_cannot_learn_the_task_is_refused(model_type: str, task: str, message: str) -> None:
    with pytest.raises(RunError) as caught:
        family_of(model_type, task)
    assert str(caught.value) == message


def test_biases_of_keys_may_be_unchanged_and_in_bfloat16_every_vector_may() -> None:
    model = tiny_model("bert", labels=2)
    frozen_of(model, "bert", bottom_layers=1)
    keys = {f"bert.encoder.layer.{layer}.attention.self.key.bias" for layer in (1, 2)}
    assert may_be_unchanged(model, short=False) == keys
    vectors = {name for name, parameter in model.named_parameters() if parameter.ndim == 1 and parameter.requires_grad}
    assert may_be_unchanged(model, short=True) == vectors
