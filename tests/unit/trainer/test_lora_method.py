"""`LoRA`: what it trains of each family, what it publishes, and that an adapter which learned nothing is refused."""

import json
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)
from transformers.pytorch_utils import Conv1D

from kubetune_api.families import FAMILIES
from kubetune_api.job import LoRA as Settings
from kubetune_api.job import Method
from kubetune_api.reasons import Reason
from kubetune_planner.encoder_decoder import shape_from_config
from kubetune_planner.methods import METHODS
from kubetune_planner.shape import ModelShape
from kubetune_trainer.artifact.publish import upload_folder
from kubetune_trainer.artifact.rehearsal import rehearsal_errors, rehearse
from kubetune_trainer.artifact.verify import Verification, verify
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods import Trainable, TrainingMethod, method_of
from kubetune_trainer.methods.adapted import adapted_layers, whole_parts
from kubetune_trainer.methods.base import Shapes
from kubetune_trainer.methods.lora import LoRA
from kubetune_trainer.model.load import LoadedModel, load_model, load_tokenizer
from kubetune_trainer.model.stored import tensor_digest
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.causal import Vocabulary
from kubetune_trainer.tasks.classification import Labels
from kubetune_trainer.tasks.embedding import Embedding
from kubetune_trainer.tasks.seq2seq import WrittenTexts
from kubetune_trainer.worker import files_beside
from support.tiny_models import CONFIGS, saved, spec_for, tiny_model

# peft asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
FOLDER = "executions/1/model"
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])

SINGLE = [name for name, family in FAMILIES.items() if family.encoder_decoder is None]
PAIRS = [name for name in FAMILIES if name not in SINGLE]


def loaded_from(folder: Path, family: str = "bert", *, labels: int | None = 3) -> LoadedModel:
    """A model with a new head for that many labels, or a language model."""
    saved(tiny_model(family, labels=labels and 2), folder)
    spec = spec_for("SequenceClassification" if labels else "CausalLM", folder)
    torch.manual_seed(0)
    space: Any = Labels(("a", "b", "c")) if labels else Vocabulary()
    return load_model(folder, spec, task_of(spec), space, load_tokenizer(folder))


def lora(**settings: Any) -> TrainingMethod:
    return method_of(Method.model_validate({"type": "LoRA", "lora": {"rank": 4, **settings}}))


def attached(method: TrainingMethod, loaded: LoadedModel) -> Trainable:
    return method.attach(loaded, precision="FP32", reach=lambda: 1.0)


def trained_names(trainable: Trainable) -> set[str]:
    return {name for name, each in trainable.loaded.model.named_parameters() if each.requires_grad}


def trained(trainable: Trainable) -> Iterator[tuple[str, torch.Tensor]]:
    """What a training might have made of it: every trained tensor moved."""
    torch.manual_seed(1)
    for name, each in trainable.loaded.model.named_parameters():
        if each.requires_grad:
            with torch.no_grad():
                each += 0.3 * torch.randn(each.shape)
            yield name, each.detach().clone()


def published(method: TrainingMethod, trainable: Trainable, folder: Path) -> Path:
    """The folder of the trained model."""
    folder.mkdir()
    method.write(trainable, trained(trainable), folder)
    load_tokenizer(trainable.loaded.folder).save_pretrained(folder)
    return folder


def verified(method: TrainingMethod, trainable: Trainable, folder: Path, shapes: Any, model_class: Any) -> Verification:
    store = Store.open((folder.parent / "store").as_uri())
    load_tokenizer(trainable.loaded.folder).save_pretrained(folder)
    files = upload_folder(folder, store, FOLDER)
    return verify(store, FOLDER, files, method.expectation(trainable, shapes), trainable.loaded.folder, model_class)


def test_the_method_of_a_manifest_has_its_settings_with_their_defaults() -> None:
    assert method_of(Method(type="LoRA")) == LoRA(Settings(rank=16, alpha=32, targets="AllLinear", variant="Standard"))
    assert lora(alpha=5, targetModules=["query"]) == LoRA(
        Settings(rank=4, alpha=5, target_modules=["query"], variant="Standard")
    )


@pytest.mark.parametrize("family", SINGLE)
def test_a_classifier_trains_an_adapter_at_every_linear_layer_and_the_new_head_whole(
    tmp_path: Path, family: str
) -> None:
    method, loaded = lora(), loaded_from(tmp_path / "base", family)
    new = {name for name, _ in loaded.model.named_parameters() if name not in loaded.base_names}
    trainable = attached(method, loaded)
    names = trained_names(trainable)
    assert new <= names
    heads = {name for name in names if ".lora_" not in name}
    assert not any(name.startswith(f"{loaded.model.base_model_prefix}.") for name in heads if "pooler" not in name)
    plain = {
        name for name, module in loaded.model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and ".lora_" not in name and not name.endswith(".base_layer")
    }  # fmt: skip
    assert all(any(name.startswith(f"{module}.") for name in heads) for module in plain)
    assert {name.partition(".lora_")[0] for name in names - heads}


@pytest.mark.parametrize("family", SINGLE)
@pytest.mark.parametrize("targets", ["AllLinear", "Attention"])
def test_the_planner_counts_what_is_trained(tmp_path: Path, family: str, targets: str) -> None:
    settings = {"targets": targets, "variant": "DoRA" if targets == "Attention" else "Standard"}
    loaded = loaded_from(tmp_path, family)
    shape = ModelShape.from_config(loaded.model.config.to_dict())
    planned = METHODS["LoRA"](Method.model_validate({"type": "LoRA", "lora": {"rank": 4, **settings}}), shape, 3)
    trainable = attached(lora(**settings), loaded)
    sizes = [each.numel() for each in trainable.loaded.model.parameters() if each.requires_grad]
    assert planned.parameters == sum(sizes)
    assert planned.largest == max(sizes)
    assert planned.kept_layers == shape.layers


@pytest.mark.parametrize("family", PAIRS)
@pytest.mark.parametrize("targets", ["AllLinear", "Attention"])
def test_the_planner_counts_the_adapters_of_both_stacks(tmp_path: Path, family: str, targets: str) -> None:
    folder = saved(tiny_model(family, labels=None), tmp_path)
    spec = spec_for("Seq2Seq", folder)
    loaded = load_model(folder, spec, task_of(spec), WrittenTexts(32), load_tokenizer(folder))
    shape = shape_from_config(loaded.model.config.to_dict())
    wanted = Method.model_validate({"type": "LoRA", "lora": {"rank": 4, "targets": targets}})
    planned = METHODS["LoRA"](wanted, shape, None)
    trainable = attached(lora(targets=targets), loaded)
    sizes = [each.numel() for each in trainable.loaded.model.parameters() if each.requires_grad]
    assert planned.parameters == sum(sizes)
    assert planned.largest == max(sizes)


@pytest.mark.parametrize("family", SINGLE)
def test_the_adapter_of_each_family_opens_in_peft_and_answers_as_the_trained_model(tmp_path: Path, family: str) -> None:
    method = lora()
    trainable = attached(method, loaded_from(tmp_path / "base", family))
    folder = published(method, trainable, tmp_path / "adapter")
    model = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "base", config=AutoConfig.from_pretrained(folder), ignore_mismatched_sizes=True
    )
    opened = PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        expected = trainable.loaded.model.eval()(TOKENS).logits
        assert torch.allclose(opened(TOKENS).logits, expected, atol=1e-6)
    assert opened.config.id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("variant", ["Standard", "RsLoRA", "DoRA"])
def test_each_variant_is_peft_with_the_same_settings(tmp_path: Path, family: str, variant: str) -> None:
    method = lora(variant=variant, alpha=7)
    trainable = attached(method, loaded_from(tmp_path / "base", family, labels=None))
    folder = published(method, trainable, tmp_path / "adapter")
    config = LoraConfig(
        r=4, lora_alpha=7, target_modules="all-linear", task_type="CAUSAL_LM",
        use_rslora=variant == "RsLoRA", use_dora=variant == "DoRA", fan_in_fan_out=family == "gpt2",
    )  # fmt: skip
    theirs = get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), config)
    state = get_peft_model_state_dict(theirs, save_embedding_layers=False)
    mine = load_file(folder / "adapter_model.safetensors")
    assert {name: each.shape for name, each in mine.items()} == {name: each.shape for name, each in state.items()}
    opened = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), folder).eval()
    theirs.load_adapter(folder, "mine")
    theirs.set_adapter("mine")
    with torch.no_grad():
        expected = trainable.loaded.model.eval()(TOKENS).logits
        assert torch.allclose(opened(TOKENS).logits, expected, atol=1e-6)
        assert torch.allclose(theirs.eval()(TOKENS).logits, expected, atol=1e-6)
        assert not torch.allclose(AutoModelForCausalLM.from_pretrained(tmp_path / "base")(TOKENS).logits, expected)


@pytest.mark.parametrize("family", [name for name in SINGLE if FAMILIES[name].decoder])
@pytest.mark.parametrize("variant", ["Standard", "RsLoRA"])
def test_the_adapter_of_a_language_model_is_as_vllm_reads_one(tmp_path: Path, family: str, variant: str) -> None:
    """Its loader takes pairs of these names alone, of the shapes that the layer beside them has."""
    method = lora(variant=variant)
    folder = published(
        method, attached(method, loaded_from(tmp_path / "base", family, labels=None)), tmp_path / "adapter"
    )
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (4, 8, variant == "RsLoRA")
    assert (config["bias"], config["modules_to_save"], config["use_dora"]) == ("none", None, False)
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        found = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        assert found, name
        pairs.setdefault(found[1], {})[found[2]] = tuple(tensor.shape)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    for name, shapes in pairs.items():
        layer = model.get_submodule(name)
        outputs, inputs = layer.weight.T.shape if isinstance(layer, Conv1D) else layer.weight.shape
        assert shapes == {"A": (4, inputs), "B": (outputs, 4)}
        assert any(f".{name}".endswith(f".{end}") for end in config["target_modules"])


def test_the_configuration_says_where_the_base_is_and_what_was_set(tmp_path: Path) -> None:
    method = lora(dropout=0.1, targets="Attention")
    folder = published(method, attached(method, loaded_from(tmp_path / "base")), tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    assert config["target_modules"] == ["attention.output.dense", "key", "query", "value"]
    assert config["modules_to_save"] == ["bert.pooler", "classifier"]
    assert (config["task_type"], config["r"], config["lora_alpha"]) == ("SEQ_CLS", 4, 8)
    assert (config["lora_dropout"], config["inference_mode"], config["bias"]) == (0.1, True, "none")


def test_only_the_named_layers_are_adapted(tmp_path: Path) -> None:
    method = lora(targetModules=["q_proj", "1.mlp.down_proj"])
    names = trained_names(attached(method, loaded_from(tmp_path, "llama", labels=None)))
    assert {name.partition(".lora_")[0] for name in names} == {
        *(f"model.layers.{layer}.self_attn.q_proj" for layer in range(3)),
        "model.layers.1.mlp.down_proj",
    }


@pytest.mark.parametrize("name", ["q_prj", "lm_head", "embed_tokens", "self_attn"])
def test_a_layer_that_cannot_be_adapted_is_refused_with_those_that_can(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError) as caught:
        attached(lora(targetModules=["q_proj", name]), loaded_from(tmp_path, "llama", labels=None))
    assert caught.value.reason == Reason.INVALID_MODEL
    assert str(caught.value) == (
        f"spec.method.lora.targetModules: the model has no linear layer {name} that can be adapted; those in its layers"
        " are mlp.down_proj, mlp.gate_proj, mlp.up_proj, self_attn.k_proj, self_attn.o_proj, self_attn.q_proj and"
        " self_attn.v_proj"
    )


def test_a_trained_adapter_is_verified(tmp_path: Path) -> None:
    method = lora(variant="DoRA")
    trainable = attached(method, loaded_from(tmp_path / "base"))
    (tmp_path / "adapter").mkdir()
    shapes = method.write(trainable, trained(trainable), tmp_path / "adapter")
    found = verified(method, trainable, tmp_path / "adapter", shapes, AutoModelForSequenceClassification)
    assert found.tensors == len(shapes) == 3 * 6 * 3 + 4


def test_an_empty_adapter_is_refused(tmp_path: Path) -> None:
    method = lora()
    trainable = attached(method, loaded_from(tmp_path / "base"))
    empty = {name: torch.zeros_like(each) if ".lora_B." in name else each for name, each in trained(trainable)}
    (tmp_path / "adapter").mkdir()
    shapes = method.write(trainable, empty.items(), tmp_path / "adapter")
    with pytest.raises(RunError, match=r"lora_B\.weight has its first values everywhere: it was never trained"):
        verified(method, trainable, tmp_path / "adapter", shapes, AutoModelForSequenceClassification)


def test_an_empty_adapter_is_refused_in_16_bits_whatever_the_reach_of_the_steps(tmp_path: Path) -> None:
    method = lora()
    trainable = method.attach(loaded_from(tmp_path / "base"), precision="BF16", reach=lambda: math.inf)
    unchanged = method.expectation(trainable, {}).may_be_unchanged
    assert any(".lora_A." in name for name in unchanged)
    assert not any(".lora_B." in name for name in unchanged)


def test_tensors_that_were_not_gathered_are_refused(tmp_path: Path) -> None:
    """As partitioned parameters look on a rank of ZeRO-3."""
    method = lora()
    trainable = attached(method, loaded_from(tmp_path / "base"))
    (tmp_path / "adapter").mkdir()
    gone = ((name, torch.zeros(0)) for name, _ in trained(trainable))
    shapes = method.write(trainable, gone, tmp_path / "adapter")
    with pytest.raises(RunError, match=r"lora_A\.weight has the shape \(0,\), not \(4, 16\)"):
        verified(method, trainable, tmp_path / "adapter", shapes, AutoModelForSequenceClassification)


def test_a_configuration_of_another_adapter_is_refused(tmp_path: Path) -> None:
    method = lora()
    trainable = attached(method, loaded_from(tmp_path / "base"))
    (tmp_path / "adapter").mkdir()
    shapes = method.write(trainable, trained(trainable), tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(file.read_text().replace('"r": 4', '"r": 8'))
    with pytest.raises(RunError, match=r"adapter_config\.json gives the tensor .* the shape \(8, 16\), not \(4, 16\)"):
        verified(method, trainable, tmp_path / "adapter", shapes, AutoModelForSequenceClassification)


def test_a_pooler_that_nothing_reads_is_neither_trained_nor_adapted() -> None:
    model = AutoModel.from_config(CONFIGS["bert"])
    assert whole_parts(model) == ("pooler",)
    model.pooler.requires_grad_(False)
    assert whole_parts(model) == ()
    layers = adapted_layers(model, Settings().resolved, ())
    assert len(layers) == 18
    assert not any("pooler" in name for name in layers)


def test_an_adapter_beside_a_gguf_file_is_refused_before_the_workers_start(tmp_path: Path) -> None:
    folder = tmp_path / "gguf-0123-5.0"
    saved(tiny_model("llama", labels=None), folder)
    spec = spec_for("CausalLM", folder, method={"type": "LoRA"})
    with pytest.raises(RunError, match=r"spec\.method\.lora\.publish: .* GGUF file; set it to Merged"):
        rehearse(folder, spec, task_of(spec), Vocabulary(), load_tokenizer(folder))
    merges = spec_for("CausalLM", folder, method={"type": "LoRA", "lora": {"publish": "Merged"}})
    assert rehearse(folder, merges, task_of(merges), Vocabulary(), load_tokenizer(folder)) == ()


def test_a_layer_that_is_not_there_is_refused_before_the_workers_start(tmp_path: Path) -> None:
    saved(tiny_model("llama", labels=None), tmp_path)
    spec = spec_for("CausalLM", tmp_path, method={"type": "LoRA", "lora": {"targetModules": ["q_prj"]}})
    with pytest.raises(RunError, match="no linear layer q_prj that can be adapted"):
        rehearse(tmp_path, spec, task_of(spec), Vocabulary(), load_tokenizer(tmp_path))


class OfAnotherRank(LoRA):
    """Writes a configuration that does not belong to its tensors."""

    def rehearse(self, loaded: LoadedModel, folder: Path) -> Shapes:
        shapes = super().rehearse(loaded, folder)
        file = folder / "adapter_config.json"
        file.write_text(file.read_text().replace('"r": 4', '"r": 8'))
        return shapes


@pytest.mark.parametrize("variant", ["Standard", "DoRA"])
def test_an_adapter_that_peft_would_open_otherwise_is_found_before_the_workers_start(
    tmp_path: Path, variant: str
) -> None:
    saved(tiny_model("bert", labels=2), tmp_path)
    spec, tokenizer = spec_for("SequenceClassification", tmp_path), load_tokenizer(tmp_path)
    settings = Settings.model_validate({"rank": 4, "variant": variant}).resolved
    found = {}
    for method in (LoRA(settings), OfAnotherRank(settings)):
        loaded = load_model(tmp_path, spec, task_of(spec), Labels(("a", "b")), tokenizer, numbers=False)
        found[type(method)] = rehearsal_errors(loaded, method, AutoModelForSequenceClassification, tokenizer)
    assert found[LoRA] == []
    assert (
        "describes an adapter" in found[OfAnotherRank][0] or "the shape (8, 16), not (4, 16)" in found[OfAnotherRank][0]
    )


def test_the_lengths_of_dora_are_not_rounded_to_16_bits(tmp_path: Path) -> None:
    """As DeepSpeed casts a model: its parameters, and no buffer."""
    loaded = loaded_from(tmp_path / "base", "llama", labels=None)
    before, name = deepcopy(loaded.model).bfloat16().eval(), "model.layers.0.mlp.up_proj"
    length = torch.linalg.vector_norm(loaded.model.get_parameter(f"{name}.weight").detach(), dim=1)
    method = lora(variant="DoRA")
    trainable = method.attach(loaded, precision="BF16", reach=lambda: 1.0)
    for each in loaded.model.parameters():
        each.data = each.data.bfloat16()
    with torch.no_grad():
        assert torch.equal(loaded.model.eval()(TOKENS).logits, before(TOKENS).logits)
        parameters = {name: each for name, each in loaded.model.named_parameters() if each.requires_grad}
        # Less than half of what the next number of 16 bits is away.
        parameters[f"{name}.lora_magnitude_vector.default.weight"] += 1e-4
    (tmp_path / "adapter").mkdir()
    method.write(trainable, parameters.items(), tmp_path / "adapter")
    published = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    stored = published[f"base_model.model.{name}.lora_magnitude_vector"]
    assert stored.dtype == torch.float32
    assert torch.allclose(stored - length, torch.tensor(1e-4), rtol=0.01)
    first = trainable.first_values
    assert first[f"{name}.lora_magnitude_vector.default.weight"] != tensor_digest(stored)
    other = "model.layers.1.mlp.up_proj.lora_magnitude_vector"
    assert first[f"{other}.default.weight"] == tensor_digest(published[f"base_model.model.{other}"])
    assert f"base_model.model.{other}" not in method.expectation(trainable, {}).may_be_unchanged


def moved(trainable: Trainable) -> dict[str, torch.Tensor]:
    """The whole state after a training, as rank 0 gathers it."""
    dict(trained(trainable))
    return dict(trainable.loaded.model.state_dict())


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("variant", ["Standard", "RsLoRA", "DoRA"])
def test_a_merged_model_is_what_peft_merges_and_changed_nowhere_else(tmp_path: Path, family: str, variant: str) -> None:
    classifies = family == "bert"
    method = lora(variant=variant, publish="Merged")
    trainable = attached(method, loaded_from(tmp_path / "base", family, labels=3 if classifies else None))
    (tmp_path / "model").mkdir()
    shapes = method.write(trainable, moved(trainable).items(), tmp_path / "model")
    model_class = AutoModelForSequenceClassification if classifies else AutoModelForCausalLM
    opened = model_class.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        expected = trainable.loaded.model.eval()(TOKENS).logits
        assert torch.allclose(opened(TOKENS).logits, expected, atol=1e-5)
    found = verified(method, trainable, tmp_path / "model", shapes, model_class)
    heads = 4 if classifies else 0
    adapted = sum(name.endswith("lora_A.default.weight") for name, _ in trainable.loaded.model.named_parameters())
    assert found.changed == adapted + (2 if classifies else 0)
    assert found.frozen == found.tensors - adapted - heads


@pytest.mark.parametrize("family", ["bart", "pegasus"])
def test_a_merged_model_keeps_what_the_base_stores_and_nobody_trains(tmp_path: Path, family: str) -> None:
    folder = saved(tiny_model(family, labels=None), tmp_path / "base")
    spec = spec_for("Seq2Seq", folder)
    loaded = load_model(folder, spec, task_of(spec), WrittenTexts(32), load_tokenizer(folder))
    assert "final_logits_bias" in loaded.base_names
    method = lora(publish="Merged")
    trainable = attached(method, loaded)
    (tmp_path / "model").mkdir()
    shapes = method.write(trainable, moved(trainable).items(), tmp_path / "model")
    assert "final_logits_bias" in method.expectation(trainable, shapes).frozen
    assert verified(method, trainable, tmp_path / "model", shapes, AutoModelForSeq2SeqLM).changed > 0


def test_what_is_merged_is_base_plus_scaled_product(tmp_path: Path) -> None:
    method = lora(publish="Merged", alpha=6)
    trainable = attached(method, loaded_from(tmp_path / "base", "llama", labels=None))
    (tmp_path / "model").mkdir()
    name, state = "model.layers.0.mlp.up_proj", moved(trainable)
    product = state[f"{name}.lora_B.default.weight"] @ state[f"{name}.lora_A.default.weight"]
    wanted = state[f"{name}.base_layer.weight"] + 6 / 4 * product
    method.write(trainable, state.items(), tmp_path / "model")
    assert torch.allclose(load_file(tmp_path / "model" / "model.safetensors")[f"{name}.weight"], wanted, atol=1e-7)


def test_an_empty_adapter_is_not_merged(tmp_path: Path) -> None:
    method = lora(publish="Merged")
    trainable = attached(method, loaded_from(tmp_path / "base", "llama", labels=None))
    untrained = trainable.loaded.model.state_dict()
    with pytest.raises(RunError, match=r"The adapter of model\.layers\.0\.self_attn\.q_proj is empty"):
        method.write(trainable, untrained.items(), tmp_path / "model")


def test_a_merge_whose_every_sum_is_rounded_away_is_refused(tmp_path: Path) -> None:
    method = lora(publish="Merged")
    loaded = loaded_from(tmp_path / "base", "llama", labels=None)
    loaded.model.to(torch.bfloat16)
    trainable = method.attach(loaded, precision="BF16", reach=lambda: 1.0)
    state = moved(trainable)
    tiny = {name: each * 1e-30 if ".lora_B." in name else each for name, each in state.items()}
    (tmp_path / "model").mkdir()
    with pytest.raises(RunError, match=r"merging leaves every weight as it was.* or set publish to Adapter") as caught:
        method.write(trainable, tiny.items(), tmp_path / "model")
    assert caught.value.reason == Reason.VERIFICATION_FAILED
    kept = "model.layers.0.mlp.up_proj.lora_B.default.weight"
    method.write(trainable, (tiny | {kept: state[kept]}).items(), tmp_path / "model")


def test_a_merged_weight_that_is_the_base_models_is_refused_unless_16_bits_may_hide_it(tmp_path: Path) -> None:
    method = lora(publish="Merged")
    trainable = attached(method, loaded_from(tmp_path / "base", "llama", labels=None))
    adapted = "model.layers.0.mlp.up_proj.weight"
    assert adapted not in method.expectation(trainable, {}).may_be_unchanged
    assert adapted not in method.expectation(trainable, {}).frozen
    loaded = loaded_from(tmp_path / "other", "llama", labels=None)
    in_bf16 = method.attach(loaded, precision="BF16", reach=lambda: 1.0)
    assert adapted in method.expectation(in_bf16, {}).may_be_unchanged


@pytest.mark.parametrize(
    ("method", "there"),
    [
        pytest.param({"type": "Full"}, True, id="whole"),
        pytest.param({"type": "LoRA", "lora": {"publish": "Merged"}}, True, id="merged"),
        pytest.param({"type": "LoRA"}, False, id="adapter"),
    ],
)
def test_what_other_libraries_read_lies_beside_a_whole_model_alone(method: dict[str, Any], there: bool) -> None:
    spec = spec_for("Embedding", method=method)
    found = files_beside(spec, CONFIGS["bert"], Embedding().space(spec, {}, {}), 64)
    assert ("modules.json" in found, bool(found)) == (there, there)
