"""From files to a model with the head of its task: kept, renewed or refused."""

import importlib
import inspect
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, PretrainedConfig

from kubetune_api.families import ALSO_BESIDE, FAMILIES, HEADS
from kubetune_api.job import Freeze
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods.full import Full
from kubetune_trainer.model.families import family_of
from kubetune_trainer.model.load import (
    LoadedModel,
    _set_dropout,
    check_vocabulary,
    load_config,
    load_model,
    load_tokenizer,
    longest_sequence,
)
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.classification import Labels
from kubetune_trainer.tasks.seq2seq import WrittenTexts
from support.tiny_models import CONFIGS, PAD, VOCABULARY, saved, spec_for, task_for, tiny_model

ABC = ("a", "b", "c")
DECODERS = sorted(name for name, family in FAMILIES.items() if family.decoder)
WRITERS = sorted(name for name, family in FAMILIES.items() if family.generates)
PAIRS = sorted(set(WRITERS) - set(DECODERS))
SINGLE = [name for name in FAMILIES if name not in PAIRS]
ENCODERS = sorted(set(SINGLE) - set(DECODERS))


def load(
    folder: Path,
    task: str = "SequenceClassification",
    labels: tuple[str, ...] = ABC,
    seed: int = 5,
    dtype: torch.dtype | None = torch.float32,
) -> LoadedModel:
    torch.manual_seed(seed)
    spec = spec_for(task, folder)
    space = WrittenTexts(32) if task == "Seq2Seq" else Labels(labels)
    return load_model(folder, spec, task_of(spec), space, load_tokenizer(folder), dtype=dtype)


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "llama"])
def test_a_dropout_of_the_job_is_that_of_every_place_in_the_model(family: str, tmp_path: Path) -> None:
    saved(tiny_model(family, labels=2), tmp_path)
    spec = spec_for("SequenceClassification", tmp_path, training={"dropout": 0.25})
    model = load_model(tmp_path, spec, task_of(spec), Labels(ABC), load_tokenizer(tmp_path)).model
    places = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    attention = [module.attention_dropout for module in model.modules() if hasattr(module, "attention_dropout")]
    found = {float(getattr(value, "p", value)) for value in (*places, *attention)}
    assert found == {0.25}
    assert {module.p for module in load(tmp_path).model.modules() if isinstance(module, torch.nn.Dropout)} <= {0.0}


def test_a_dropout_for_a_model_that_has_none_is_refused() -> None:
    with pytest.raises(RunError, match=r"spec.training.dropout: this model has no dropout"):
        _set_dropout(PretrainedConfig(layerdrop=0.1), 0.2)


def read_and_load(folder: Path) -> LoadedModel:
    """As driver and worker do: a tokenizer alone would be the first to stumble over the configuration."""
    load_config(folder, spec_for("SequenceClassification"))
    return load(folder)


def labelled(family: str, labels: tuple[str, ...]) -> Any:
    model = tiny_model(family, labels=len(labels))
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    return model


def in_base(model: Any, name: str) -> bool:
    return name.startswith(f"{model.base_model_prefix}.")


@pytest.mark.parametrize("family", SINGLE)
def test_the_pretrained_weights_arrive_and_the_head_is_new(family: str, tmp_path: Path) -> None:
    pretrained = tiny_model(family, labels=None if FAMILIES[family].decoder else 2)
    loaded = load(saved(pretrained, tmp_path))
    before, after = pretrained.state_dict(), loaded.model.state_dict()
    stored = load_file(tmp_path / "model.safetensors")
    for name, tensor in after.items():
        kept = loaded.family.pretrained_head
        if in_base(loaded.model, name) or (kept and name.startswith(f"{kept}.")):
            assert torch.equal(tensor, before[name]), name
            assert torch.equal(tensor, stored[loaded.base_names[name]]), name
        else:
            assert name not in loaded.base_names
    assert loaded.model.config.num_labels == 3
    assert loaded.model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert loaded.model.config.pad_token_id == PAD
    assert all(parameter.dtype == torch.float32 for parameter in loaded.model.parameters())


@pytest.mark.parametrize("family", WRITERS)
def test_a_language_model_keeps_every_weight(family: str, tmp_path: Path) -> None:
    pretrained = tiny_model(family, labels=None)
    loaded = load(saved(pretrained, tmp_path), task_for(family), ())
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, pretrained.state_dict()[name]), name
    stored = load_file(tmp_path / "model.safetensors")
    assert set(loaded.base_names.values()) == set(stored)


def test_files_of_a_base_model_alone_name_their_tensors_without_a_prefix(tmp_path: Path) -> None:
    pretrained = tiny_model("bert", labels=2)
    saved(pretrained, tmp_path)
    pretrained.bert.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.base_names["bert.encoder.layer.0.output.dense.weight"] == "encoder.layer.0.output.dense.weight"
    assert set(loaded.base_names.values()) == set(load_file(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "llama"])
def test_a_head_of_these_very_labels_is_trained_further(family: str, tmp_path: Path) -> None:
    pretrained = labelled(family, ABC)
    loaded = load(saved(pretrained, tmp_path))
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, pretrained.state_dict()[name]), name
        assert loaded.base_names[name] == name


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param(("x", "y", "z"), id="other labels"),
        pytest.param(("c", "b", "a"), id="the same in another order"),
        pytest.param(("a", "b"), id="fewer of them"),
    ],
)
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "llama"])
def test_a_head_of_other_labels_is_renewed(family: str, theirs: tuple[str, ...], tmp_path: Path) -> None:
    pretrained = labelled(family, theirs)
    loaded = load(saved(pretrained, tmp_path))
    for name, tensor in loaded.model.state_dict().items():
        if in_base(loaded.model, name):
            continue
        assert name not in loaded.base_names
        before = pretrained.state_dict()[name]
        # New biases are zero, and so are those of a fresh model that was never trained.
        if tensor.ndim > 1:
            assert tensor.shape != before.shape or not torch.equal(tensor, before), name
            assert 0.0 < tensor.std() < 0.1, name


def test_what_pretraining_learned_beside_the_base_stays_under_a_new_head(tmp_path: Path) -> None:
    """As transformers has it: ModernBERT's classifiers go on from the dense layer of its masked language model."""
    config = type(CONFIGS["modernbert"]).from_dict(CONFIGS["modernbert"].to_dict())
    pretrained = AutoModelForMaskedLM.from_config(config)
    loaded = load(saved(pretrained, tmp_path))
    assert torch.equal(loaded.model.head.dense.weight, pretrained.head.dense.weight)
    assert (loaded.model.head.norm.weight == 1).all()
    assert loaded.base_names["head.dense.weight"] == "head.dense.weight"
    assert "classifier.weight" not in loaded.base_names


@pytest.mark.parametrize("labels", [0, 2], ids=["no head in the files", "a head of other labels"])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_a_new_head_is_drawn_alike_whatever_the_other_weights_are_read_as(
    family: str, labels: int, tmp_path: Path
) -> None:
    saved(tiny_model(family, labels=labels).to(torch.bfloat16), tmp_path)
    whole, as_stored = load(tmp_path).model, load(tmp_path, dtype=None).model
    stored = load_file(tmp_path / "model.safetensors")
    assert {values.dtype for values in stored.values()} == {torch.bfloat16}
    for name, values in as_stored.named_parameters():
        assert values.dtype == (torch.bfloat16 if in_base(as_stored, name) else torch.float32), name
        assert torch.equal(values.float(), whole.get_parameter(name)), name
    assert all(values.dtype == torch.float32 for values in as_stored.buffers() if values.is_floating_point())


def test_weights_that_are_read_as_they_are_stored_take_no_memory_of_their_own(tmp_path: Path) -> None:
    saved(tiny_model("llama", labels=None).to(torch.bfloat16), tmp_path)
    model = load(tmp_path, "CausalLM", (), dtype=None).model
    mapped = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    ends = [tuple(int(end, 16) for end in line.split("-")) for line in mapped]
    for name, values in model.named_parameters():
        assert any(first <= values.data_ptr() < last for first, last in ends), name


def test_a_new_head_depends_on_the_seed_alone(tmp_path: Path) -> None:
    saved(labelled("bert", ("x", "y", "z")), tmp_path)
    first, again, other = (load(tmp_path, seed=seed).model.classifier.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def without(folder: Path, *fragments: str) -> Path:
    """The model in the folder, less the tensors whose name holds one of the fragments."""
    path = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if not any(part in name for part in fragments)}
    save_file(kept, path, metadata={"format": "pt"})
    return folder


REMEDY = "; check that config.json belongs to these weights"
GAPS = "spec.model.uri: the files lack weights of the model or hold them in another shape"


@pytest.mark.parametrize(
    ("missing", "shown"),
    [
        pytest.param(
            ("layer.1.output.dense.weight",), "(bert.encoder.layer.1.output.dense.weight)", id="one tensor is missing"
        ),
        pytest.param(
            ("layer.2",),
            "(bert.encoder.layer.2.attention.output.LayerNorm.bias,"
            " bert.encoder.layer.2.attention.output.LayerNorm.weight,"
            " bert.encoder.layer.2.attention.output.dense.bias and 13 more)",
            id="a whole layer is missing",
        ),
    ],
)
def test_missing_weights_of_the_base_are_refused(missing: tuple[str, ...], shown: str, tmp_path: Path) -> None:
    without(saved(tiny_model("bert", labels=2), tmp_path), *missing)
    with pytest.raises(RunError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{GAPS} {shown}{REMEDY}"


@pytest.mark.parametrize("family", ENCODERS)
def test_a_model_without_a_head_keeps_every_weight_and_trains_no_pooler(family: str, tmp_path: Path) -> None:
    pretrained = tiny_model(family, labels=0)
    loaded = load(saved(pretrained, tmp_path), "Embedding", ())
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, pretrained.state_dict()[name]), name
        assert name in loaded.base_names
        assert parameter.requires_grad is ("pooler" not in name), name


def test_a_model_without_a_head_leaves_out_a_pooler_that_would_be_new(tmp_path: Path) -> None:
    without(saved(tiny_model("bert", labels=0), tmp_path), "pooler")
    assert not any("pooler" in name for name in load(tmp_path, "Embedding", ()).model.state_dict())


def test_vectors_are_not_learned_by_decoders(tmp_path: Path) -> None:
    folder = saved(tiny_model("llama", labels=None), tmp_path)
    with pytest.raises(RunError, match="Embedding needs an encoder, and 'llama' is a decoder; choose a model of type"):
        load_config(folder, spec_for("Embedding"))


def test_a_missing_pooler_is_drawn_anew(tmp_path: Path) -> None:
    without(saved(tiny_model("bert", labels=2), tmp_path), "pooler")
    assert "bert.pooler.dense.weight" not in load(tmp_path).base_names


def with_tensors(folder: Path, *names: str) -> Path:
    """The model in the folder, and tensors that its configuration does not describe."""
    path = folder / "model.safetensors"
    save_file(load_file(path) | {name: torch.ones(2) for name in names}, path, metadata={"format": "pt"})
    return folder


UNDESCRIBED = "spec.model.uri: the files hold weights that config.json does not describe"


@pytest.mark.parametrize(
    ("family", "names", "shown"),
    [
        pytest.param("llama", ("model.layers.0.self_attn.q_proj.bias",), None, id="T4: a bias that is turned off"),
        pytest.param(
            "llama",
            tuple(f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(3, 8)),
            "model.layers.3.mlp.up_proj.weight, model.layers.4.mlp.up_proj.weight, model.layers.5.mlp.up_proj.weight"
            " and 2 more",
            id="T4: more layers",
        ),
        pytest.param("llama", ("lm_head.bias",), None, id="a bias of the language model's own output layer"),
        pytest.param("llama", ("vision_tower.patches.weight",), None, id="a part beside the model"),
        pytest.param("llama", ("model.layers.0.mlp.up_proj.lora_A.weight",), None, id="an adapter among the weights"),
        pytest.param("bert", ("encoder.layer.9.output.dense.bias",), None, id="more layers, named without the prefix"),
        pytest.param("gpt2", ("transformer.h.0.attn.q_norm.weight",), None, id="a norm of another architecture"),
    ],
)
def test_weights_that_the_configuration_does_not_describe_are_refused(
    family: str, names: tuple[str, ...], shown: str | None, tmp_path: Path
) -> None:
    decoder = FAMILIES[family].decoder
    saved(tiny_model(family, labels=None if decoder else 2), tmp_path)
    with pytest.raises(RunError) as caught:
        load(with_tensors(tmp_path, *names), "CausalLM" if decoder else "SequenceClassification")
    assert str(caught.value) == f"{UNDESCRIBED} ({shown or names[0]}){REMEDY}"


def test_more_layers_in_the_files_of_a_base_model_alone_are_refused(tmp_path: Path) -> None:
    """T4: there no name begins with the model's prefix."""
    pretrained = tiny_model("bert", labels=2)
    saved(pretrained, tmp_path)
    pretrained.bert.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 2}))
    with pytest.raises(RunError, match=r"config\.json does not describe \(encoder\.layer\.2\.attention"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param("bert", "cls.predictions.bias", id="the head of BERT's pretraining"),
        pytest.param("llama", "lm_head.weight", id="a language model's"),
        pytest.param("llama", "score.bias", id="a classifier's that is renewed"),
        pytest.param("roberta", "roberta.pooler.dense.weight", id="a pooler that the task has no use for"),
        pytest.param("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", id="frequencies of an older Llama"),
        pytest.param("gpt2", "h.0.attn.bias", id="the mask of an older GPT-2"),
        pytest.param("gpt2", "transformer.h.2.attn.masked_bias", id="the other mask of an older GPT-2"),
        pytest.param("bert", "bert.embeddings.position_ids", id="positions of an older BERT"),
        pytest.param("gpt_neox", "gpt_neox.layers.0.attention.bias", id="the mask of Pythia's files"),
        pytest.param("gpt_neox", "gpt_neox.layers.1.attention.masked_bias", id="the other mask of Pythia's files"),
        pytest.param("albert", "sop_classifier.classifier.weight", id="a head of ALBERT's pretraining"),
        pytest.param("deberta-v2", "mask_predictions.classifier.weight", id="a head of DeBERTa-v3's pretraining"),
    ],
)
def test_heads_of_other_tasks_and_known_buffers_may_stay_behind(family: str, name: str, tmp_path: Path) -> None:
    """T4."""
    saved(tiny_model(family, labels=2), tmp_path)
    load(with_tensors(tmp_path, name))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_of_transformers_own_classes_is_known(family: str) -> None:
    """T4."""
    config = CONFIGS[family]
    module = importlib.import_module(type(config).__module__.replace("configuration", "modeling"))
    for name, kind in inspect.getmembers(module, inspect.isclass):
        if getattr(kind, "config_class", None) is type(config) and "For" in name:
            with torch.device("meta"):
                model = kind(deepcopy(config))  # some change what they are given
            parts = {part for part, _ in model.named_parameters()}
            beside = {part.partition(".")[0] for part in parts} - {model.base_model_prefix, "transformer"}
            beside -= {"shared", "encoder", "decoder"} if family in PAIRS else set()
            assert beside <= HEADS | ALSO_BESIDE, name


@pytest.mark.parametrize("lost", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(lost: float, tmp_path: Path) -> None:
    """T13."""
    path = saved(tiny_model("llama", labels=None), tmp_path) / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = lost
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(RunError) as caught:
        load(tmp_path, "CausalLM", ())
    assert str(caught.value) == (
        "spec.model.uri: the files hold weights that are infinite or not a number (model.layers.1.mlp.up_proj.weight);"
        " take them again from their source, or another model"
    )


@pytest.mark.parametrize("token", [VOCABULARY, -1])
@pytest.mark.parametrize("family", SINGLE)
def test_a_padding_token_that_the_model_does_not_have_gives_way_to_the_tokenizers(
    family: str, token: int, tmp_path: Path
) -> None:
    """T13: the model could not be built with the one, and with the other its last token never learned."""
    decoder = FAMILIES[family].decoder
    saved(tiny_model(family, labels=None if decoder else 2), tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token_id": token}))
    loaded = load(tmp_path, "CausalLM" if decoder else "SequenceClassification")
    assert loaded.model.config.pad_token_id == PAD
    assert loaded.model(torch.tensor([[5, 6, 7]])).logits.isfinite().all()
    assert loaded.model.get_input_embeddings().padding_idx == (1 if FAMILIES[family].position_offset else None)


def test_an_output_layer_of_its_own_is_kept_where_the_configuration_says_that_it_is_shared(tmp_path: Path) -> None:
    """Flan-T5's: transformers calls every output layer of T5 a shared one."""
    saved(tiny_model("t5", labels=None), tmp_path)
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    own = torch.randn(VOCABULARY, 16)
    save_file(load_file(path) | {"lm_head.weight": own}, path, metadata={"format": "pt"})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": False}))
    loaded = load(tmp_path, "Seq2Seq")
    assert torch.equal(loaded.model.lm_head.weight, own)
    assert loaded.base_names["lm_head.weight"] == "lm_head.weight"
    loaded.save(tmp_path / "published", dict(loaded.model.state_dict()))
    assert {"lm_head.weight", "shared.weight"} <= load_file(tmp_path / "published" / "model.safetensors").keys()


def test_sinusoids_need_not_be_in_the_files(tmp_path: Path) -> None:
    folder = without(saved(tiny_model("pegasus", labels=None), tmp_path), "embed_positions")
    loaded = load(folder, "Seq2Seq")
    assert torch.equal(
        loaded.model.model.decoder.embed_positions.weight,
        tiny_model("pegasus", labels=None).model.decoder.embed_positions.weight,
    )
    trainable = Full(Freeze()).attach(loaded, precision="FP32", reach=lambda: 1.0)
    sinusoids = {"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"}
    assert trainable.frozen == {"final_logits_bias", *sinusoids}
    assert trainable.first_values.keys() == sinusoids


def test_a_decoder_that_is_not_told_how_to_begin_begins_with_the_padding_token(tmp_path: Path) -> None:
    saved(tiny_model("t5", labels=None), tmp_path)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((tmp_path / name).read_text())
        settings.pop("decoder_start_token_id", None)
        (tmp_path / name).write_text(json.dumps(settings))
    model = load(tmp_path, "Seq2Seq").model
    assert model.config.decoder_start_token_id == model.generation_config.decoder_start_token_id == PAD
    assert model.prepare_decoder_input_ids_from_labels(torch.tensor([[5, 2, -100]])).tolist() == [[PAD, 5, 2]]


def test_a_target_longer_than_the_model_can_write_is_refused(tmp_path: Path) -> None:
    folder = saved(tiny_model("bart", labels=None), tmp_path)
    spec = spec_for("Seq2Seq", folder)
    with pytest.raises(RunError) as caught:
        load_model(folder, spec, task_of(spec), WrittenTexts(65), load_tokenizer(folder))
    assert str(caught.value) == (
        "spec.task.seq2Seq.maxTargetLength: 65 tokens are more than the 64 that the model can write; lower it"
    )


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    saved(tiny_model("bert", labels=2), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 80}))
    with pytest.raises(RunError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{GAPS} (bert.embeddings.word_embeddings.weight){REMEDY}"


def test_a_language_model_without_its_output_layer_is_refused(tmp_path: Path) -> None:
    """A classifier, say: its output layer would otherwise start from noise, without a word."""
    saved(tiny_model("llama", labels=2), tmp_path)
    with pytest.raises(RunError) as caught:
        load(tmp_path, "CausalLM", ())
    assert str(caught.value) == f"{GAPS} (lm_head.weight){REMEDY}"


@pytest.mark.parametrize(
    ("family", "wanted", "longest"),
    [
        pytest.param("bert", 512, 64, id="the model's own limit"),
        pytest.param("bert", 32, 32, id="less than the model can"),
        pytest.param("roberta", 512, 64, id="RoBERTa keeps two positions for itself"),
        pytest.param("gpt2", 512, 64, id="GPT-2 calls it n_positions"),
    ],
)
def test_the_longest_sequence(family: str, wanted: int, longest: int) -> None:
    assert longest_sequence(CONFIGS[family], wanted) == longest


def test_a_model_of_a_type_that_transformers_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "brandnew"}')
    with pytest.raises(RunError, match="a model of type 'brandnew' is not supported"):
        load_config(tmp_path, spec_for("SequenceClassification"))


def test_a_config_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": "wide"}')
    with pytest.raises(RunError) as caught:
        load_config(tmp_path, spec_for("SequenceClassification"))
    assert str(caught.value) == (
        "spec.model.uri: config.json does not load: Validation error for field 'hidden_size':"
        " TypeError: Field 'hidden_size' expected int, got str (value: 'wide')"
    )


def test_a_tokenizer_without_padding_pads_with_its_end_of_text(tmp_path: Path) -> None:
    saved(tiny_model("gpt2", labels=None), tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(tmp_path).pad_token == "[END]"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"id2label": [1, 2]}, "config.json does not load: 'list' object has no attribute 'items'", id="no mapping"
        ),
        pytest.param(
            {"dtype": "evil"}, "config.json does not load: module 'torch' has no attribute 'evil'", id="no such type"
        ),
        pytest.param({"hidden_act": "evil"}, "the model does not load: 'evil'", id="no such function"),
        pytest.param(
            {"_attn_implementation": "flash_attention_2"},
            "the model does not load: FlashAttention2 has been toggled on, but it cannot be used due to the following"
            " error: the package for FlashAttention2 doesn't seem to be installed.",
            id="an attention in need of a package that is not there",
        ),
        pytest.param(
            {"transformers_weights": "../elsewhere.safetensors"},
            "the model does not load: `transformers_weights` must reference a file inside the model directory, got"
            " ../elsewhere.safetensors",
            id="weights beside the model",
        ),
    ],
)
def test_a_configuration_that_leads_astray_is_the_models_error(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    saved(tiny_model("bert", labels=2), tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | settings))
    with pytest.raises(RunError) as caught:
        read_and_load(tmp_path)
    assert caught.value.reason == Reason.INVALID_MODEL
    assert str(caught.value) == f"spec.model.uri: {message}"


def test_what_is_left_over_of_a_quantisation_is_not_published(tmp_path: Path) -> None:
    """T13."""
    saved(tiny_model("bert", labels=2), tmp_path)
    config = tmp_path / "config.json"
    packed = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    config.write_text(json.dumps(json.loads(config.read_text()) | packed))
    loaded = read_and_load(tmp_path)
    assert loaded.notes == (
        "config.json says that the weights are quantised (gptq), but they are plain numbers: quantization_config is"
        " left out, also of the published config.json",
    )
    loaded.save(tmp_path / "published", {})
    assert "quantization_config" not in json.loads((tmp_path / "published" / "config.json").read_text())


def test_a_tokenizer_that_does_not_load_is_told(tmp_path: Path) -> None:
    saved(tiny_model("gpt2", labels=None), tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(RunError, match=r"spec\.model\.uri: the tokenizer does not load: "):
        load_tokenizer(tmp_path)


def renamed(folder: Path, old: dict[str, str]) -> Path:
    """The model in the folder, with the parts of its tensors' names that `old` knows replaced."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for new, before in old.items():
        tensors = {name.replace(new, before): tensor for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def test_the_older_names_of_norms_are_known_and_not_written_again(tmp_path: Path) -> None:
    folder = renamed(
        saved(tiny_model("bert", labels=2), tmp_path / "old"),
        {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"},
    )
    loaded = load(folder)
    assert loaded.base_names["bert.embeddings.LayerNorm.weight"] == "bert.embeddings.LayerNorm.gamma"
    assert loaded.base_names["bert.embeddings.LayerNorm.bias"] == "bert.embeddings.LayerNorm.beta"
    state = loaded.model.state_dict()
    loaded.save(tmp_path / "new", dict(state))
    assert set(load_file(tmp_path / "new" / "model.safetensors")) == set(state)


def test_weights_that_come_from_an_unknown_name_are_refused(tmp_path: Path) -> None:
    """transformers loads these, but the trained ones could not be compared with them."""
    renamed(saved(tiny_model("bert", labels=2), tmp_path), {"LayerNorm.weight": "LayerNorm-gamma"})
    with pytest.raises(RunError) as caught:
        load(tmp_path)
    assert str(caught.value) == (
        "spec.model.uri: the files hold weights under names that cannot be matched (bert.embeddings.LayerNorm.weight,"
        " bert.encoder.layer.0.attention.output.LayerNorm.weight, bert.encoder.layer.0.output.LayerNorm.weight and 4"
        " more); load the model with transformers and save it again with save_original_format=False"
    )


def test_the_names_that_gpt_neox_was_published_with_are_known(tmp_path: Path) -> None:
    pretrained = tiny_model("gpt_neox", labels=None)
    folder = renamed(saved(pretrained, tmp_path), {"lm_head.": "embed_out."})
    loaded = load(folder, "CausalLM", ())
    assert loaded.base_names["lm_head.weight"] == "embed_out.weight"
    assert torch.equal(loaded.model.lm_head.weight, pretrained.lm_head.weight)
    assert "score.weight" not in load(folder).base_names


def test_experts_that_stand_in_the_files_one_by_one_are_joined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pretrained = tiny_model("mixtral", labels=None)
    saved(pretrained, tmp_path)
    pretrained.save_pretrained(tmp_path, save_original_format=True)
    stored = load_file(tmp_path / "model.safetensors")
    assert "model.layers.0.block_sparse_moe.experts.3.w1.weight" in stored
    loaded = load(tmp_path, "CausalLM", ())
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, pretrained.state_dict()[name]), name
    nameless = loaded.model.state_dict().keys() - loaded.base_names.keys()
    assert nameless == {
        f"model.layers.{layer}.mlp.experts.{part}" for layer in range(3) for part in ("gate_up_proj", "down_proj")
    }
    assert loaded.base_names["model.layers.0.mlp.gate.weight"] == "model.layers.0.block_sparse_moe.gate.weight"
    assert "hold 6 weights in parts" in caplog.text


def test_tied_weights_share_the_name_that_the_files_have(tmp_path: Path) -> None:
    saved(tiny_model("gpt2", labels=None), tmp_path)
    names = load(tmp_path, "CausalLM", ()).base_names
    assert names["lm_head.weight"] == names["transformer.wte.weight"] == "transformer.wte.weight"


@pytest.mark.parametrize("family", DECODERS)
def test_the_end_of_text_learns_where_it_pads_too(family: str, tmp_path: Path) -> None:
    pretrained = tiny_model(family, labels=None)
    pretrained.config.pad_token_id = None
    saved(pretrained, tmp_path)
    loaded = load(tmp_path, "CausalLM", ())
    assert loaded.model.config.pad_token_id == PAD
    tokens = torch.tensor([[5, PAD, 6, 7]])
    embeddings = loaded.model.get_input_embeddings()
    embeddings(tokens).sum().backward()
    assert embeddings.weight.grad[PAD].abs().sum() > 0


@pytest.mark.parametrize("wish", [True, False])
@pytest.mark.parametrize("family", WRITERS)
def test_the_cache_is_off_in_training_and_as_it_was_in_what_is_saved(family: str, wish: bool, tmp_path: Path) -> None:
    pretrained = tiny_model(family, labels=None)
    pretrained.config.use_cache = wish
    loaded = load(saved(pretrained, tmp_path / "before"), task_for(family), ())
    assert loaded.model.config.use_cache is False
    loaded.save(tmp_path / "after", loaded.model.state_dict())
    assert json.loads((tmp_path / "after" / "config.json").read_text())["use_cache"] is wish


def test_a_tokenizer_of_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    saved(tiny_model("gpt2", labels=None), tmp_path)
    config, tokenizer = load_config(tmp_path, spec_for("CausalLM")), load_tokenizer(tmp_path)
    check_vocabulary(config, tokenizer)
    config.vocab_size = VOCABULARY - 1
    with pytest.raises(RunError) as caught:
        check_vocabulary(config, tokenizer)
    assert str(caught.value) == (
        "spec.model.uri: the tokenizer numbers its tokens up to 63, but config.json gives the model a vocab_size of 63;"
        " check that the tokenizer belongs to these weights"
    )


def test_families_say_whether_transformers_has_a_tagger_of_them() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES as TAGGERS

    assert {name for name, family in FAMILIES.items() if family.tagger} == FAMILIES.keys() & TAGGERS.keys()


def test_a_tagger_of_a_family_without_one_is_refused() -> None:
    with pytest.raises(RunError, match="transformers has no model of type 'olmo2' with an output for each token"):
        family_of("olmo2", "TokenClassification")
    assert family_of("olmo2", "SequenceClassification")


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.tagger and name in SINGLE])
def test_a_tagger_of_every_family_has_a_new_head_alone(family: str, tmp_path: Path) -> None:
    loaded = load(saved(tiny_model(family, labels=2), tmp_path), "TokenClassification", ("O", "B-A", "I-A"))
    new = loaded.model.state_dict().keys() - loaded.base_names.keys()
    assert new
    assert not any(in_base(loaded.model, name) for name in new)
    assert all(loaded.model.state_dict()[name].shape[0] == 3 for name in new)
