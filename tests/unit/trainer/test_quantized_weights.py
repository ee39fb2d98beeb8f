"""Pretrained weights in 4 and 8 bits beside an adapter: which layers, in how many bytes, and what is refused."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from kubetune_api.families import FAMILIES
from kubetune_api.job import Method, Quantization
from kubetune_planner import quantized as planned
from kubetune_planner.memory import estimate
from kubetune_planner.shape import ModelShape
from kubetune_trainer.artifact.publish import upload_folder
from kubetune_trainer.artifact.rehearsal import rehearse
from kubetune_trainer.artifact.verify import verify
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods import Trainable, TrainingMethod, method_of, quantized
from kubetune_trainer.model.load import LoadedModel, load_model, load_tokenizer
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.causal import Vocabulary
from kubetune_trainer.tasks.classification import Labels
from support.tiny_models import saved, spec_for, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
LAYERS = {"NF4": Linear4bit, "Int8": Linear8bitLt}
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])
DOUBLE = {"type": "NF4", "doubleQuantization": True}
KINDS: tuple[dict[str, Any], ...] = ({"type": "NF4"}, DOUBLE, {"type": "Int8"})
TRANSPOSED, READ = "gpt2", ("t5", "mt5")


def method(**quantization: Any) -> TrainingMethod:
    return method_of(Method.model_validate({"type": "LoRA", "lora": {"rank": 4}, "quantization": quantization}))


def loaded_from(folder: Path, family: str = "llama") -> LoadedModel:
    classifies = family == "bert"
    saved(tiny_model(family, labels=2 if classifies else None), folder)
    spec = spec_for("SequenceClassification" if classifies else "CausalLM", folder)
    torch.manual_seed(0)
    space: Any = Labels(("a", "b", "c")) if classifies else Vocabulary()
    return load_model(folder, spec, task_of(spec), space, load_tokenizer(folder))


def attached(folder: Path, family: str = "llama", precision: Any = "FP32", **quantization: Any) -> Trainable:
    """As the engine has it: its layers are rounded when they are moved."""
    trainable = method(**quantization).attach(loaded_from(folder, family), precision=precision, reach=lambda: 1.0)
    trainable.loaded.model.to("cpu")
    return trainable


def stored(layer: Any) -> int:
    """The bytes of a layer's numbers and their constants."""
    weight = layer.weight
    if isinstance(layer, Linear8bitLt):
        return int(weight.nbytes + weight.SCB.nbytes)
    state = weight.quant_state
    return int(weight.nbytes + state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_every_linear_layer_but_the_head_and_the_output_layer_is_quantized(
    tmp_path: Path, family: str, kind: dict[str, Any]
) -> None:
    whole = {name for name, each in loaded_from(tmp_path, family).model.named_modules() if type(each) is nn.Linear}
    trainable = attached(tmp_path, family, **kind)
    model: Any = trainable.loaded.model
    layers = {
        name.removesuffix(".base_layer")
        for name, each in model.named_modules()
        if isinstance(each, LAYERS[kind["type"]])
    }
    heads = {"bert.pooler.dense", "classifier"} if family == "bert" else {"lm_head"}
    assert layers == whole - heads
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad}
    assert {f"{name}.base_layer.weight" for name in layers} <= frozen
    assert frozen == trainable.frozen
    others = {each.dtype for each in model.parameters() if each.requires_grad}
    assert others == {torch.float32}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_planner_counts_the_bytes_that_are_stored(tmp_path: Path, kind: dict[str, Any]) -> None:
    model: Any = attached(tmp_path, **kind).loaded.model
    settings = Quantization.model_validate(kind)
    layers = [each for each in model.modules() if isinstance(each, LAYERS[kind["type"]])]
    for layer in layers:
        assert planned.BYTES[kind["type"]](layer.in_features, layer.out_features, settings) == stored(layer)
    sizes = [layer.in_features * layer.out_features for layer in layers]
    shape = ModelShape.from_config(model.config.to_dict())
    spec = spec_for("CausalLM", method={"type": "LoRA", "quantization": kind})
    both = [
        estimate(
            shape,
            spec.model_copy(update={"method": spec.method.model_copy(update={"quantization": quantization})}),
            stage=0, workers=1, micro_batch_size=1, precision="FP32",
        )
        for quantization in (None, settings)
    ]  # fmt: skip
    # One at a time has all its numbers, as it is multiplied.
    assert both[0].weights - both[1].weights == 4 * (sum(sizes) - max(sizes)) - sum(map(stored, layers))


def test_the_numbers_are_those_of_bitsandbytes(tmp_path: Path) -> None:
    base = loaded_from(tmp_path).model.get_submodule("model.layers.0.mlp.up_proj").weight.data
    model = attached(tmp_path, type="NF4").loaded.model
    weight: Any = model.get_submodule("model.layers.0.mlp.up_proj.base_layer").weight
    expected = dequantize_4bit(*quantize_4bit(base, quant_type="nf4", blocksize=64, compress_statistics=False))
    found = dequantize_4bit(weight.data, weight.quant_state)
    assert torch.equal(found, expected)
    assert 0 < float((found - base).abs().mean()) < 0.2 * float(base.std())


def test_layers_compute_in_the_precision_of_the_training(tmp_path: Path) -> None:
    model = attached(tmp_path, precision="BF16", type="NF4").loaded.model
    layer: Any = model.get_submodule("model.layers.0.mlp.up_proj.base_layer")
    assert layer.compute_dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_an_untrained_adapter_answers_nearly_as_the_whole_weights(
    tmp_path: Path, family: str, kind: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    loaded = loaded_from(tmp_path, family)
    with torch.no_grad():
        whole = loaded.model.eval()(TOKENS).logits
        found = attached(tmp_path, family, **kind).loaded.model.eval()(TOKENS).logits
    assert 0 < float((found - whole).abs().mean()) < 0.2 * float(whole.std())


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_adapter_opens_in_peft_beside_the_whole_weights(tmp_path: Path, family: str) -> None:
    how = method(type="NF4")
    trainable = attached(tmp_path / "base", family, type="NF4")
    folder = tmp_path / "adapter"
    folder.mkdir()
    tensors = moved(trainable)
    shapes = how.write(trainable, tensors.items(), folder)
    load_tokenizer(tmp_path / "base").save_pretrained(folder)
    opens = AutoModelForSequenceClassification if family == "bert" else AutoModelForCausalLM
    store = Store.open((tmp_path / "store").as_uri())
    expected = how.expectation(trainable, shapes)
    found = verify(store, "model", upload_folder(folder, store, "model"), expected, tmp_path / "base", opens)
    assert found.tensors == len(shapes)
    config = AutoConfig.from_pretrained(folder)
    assert not hasattr(config, "quantization_config")
    model = opens.from_pretrained(tmp_path / "base", config=config, ignore_mismatched_sizes=True)
    opened = PeftModel.from_pretrained(model, folder).eval()
    assert opened.peft_config["default"].base_model_name_or_path == str(tmp_path / "base")
    whole = method_of(Method.model_validate({"type": "LoRA", "lora": {"rank": 4}}))
    plain = whole.attach(loaded_from(tmp_path / "base", family), precision="FP32", reach=lambda: 1.0).loaded.model
    missing, unexpected = plain.load_state_dict(tensors, strict=False)
    assert missing
    assert not unexpected
    with torch.no_grad():
        assert torch.allclose(opened(TOKENS).logits, plain.eval()(TOKENS).logits, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_merge_adds_to_the_pretrained_numbers_and_not_to_the_rounded_ones(
    tmp_path: Path, family: str, kind: dict[str, Any]
) -> None:
    loaded_from(tmp_path / "base", family)
    settings = {"type": "LoRA", "lora": {"rank": 4, "targets": "Attention", "publish": "Merged"}}
    tensors: dict[str, torch.Tensor] = {}
    for name, quantization in (("mine", kind), ("whole", None)):
        how = method_of(Method.model_validate({**settings, "quantization": quantization}))
        trainable = how.attach(loaded_from(tmp_path / "base", family), precision="FP32", reach=lambda: 1.0)
        model = trainable.loaded.model.to("cpu")
        tensors = tensors or moved(trainable)
        model.load_state_dict(tensors, strict=False)
        (tmp_path / name).mkdir()
        shapes = how.write(trainable, model.state_dict().items(), tmp_path / name)
        load_tokenizer(tmp_path / "base").save_pretrained(tmp_path / name)
        store = Store.open((tmp_path / f"{name}-store").as_uri())
        files = upload_folder(tmp_path / name, store, "model")
        opens = AutoModelForSequenceClassification if family == "bert" else AutoModelForCausalLM
        found = verify(store, "model", files, how.expectation(trainable, shapes), tmp_path / "base", opens)
        assert found.changed >= 8
    mine, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("mine", "whole"))
    assert mine.keys() == whole.keys()
    assert all(torch.equal(mine[name], whole[name]) for name in whole)


def moved(trainable: Trainable) -> dict[str, torch.Tensor]:
    """What a training might have made of each trained tensor."""
    torch.manual_seed(1)
    trained = {name: each for name, each in trainable.loaded.model.named_parameters() if each.requires_grad}
    with torch.no_grad():
        for each in trained.values():
            each += 0.1 * torch.randn(each.shape)
    return {name: each.detach().clone() for name, each in trained.items()}


@pytest.mark.parametrize("family", [TRANSPOSED, *READ])
@pytest.mark.parametrize("kind", ["NF4", "Int8"])
def test_a_family_whose_layers_cannot_be_quantized_is_refused_before_the_training(
    tmp_path: Path, family: str, kind: str
) -> None:
    task = "Seq2Seq" if FAMILIES[family].encoder_decoder else "CausalLM"
    saved(tiny_model(family, labels=None), tmp_path)
    spec = spec_for(task, tmp_path, method={"type": "LoRA", "quantization": {"type": kind}})
    with pytest.raises(RunError) as found:
        rehearse(tmp_path, spec, task_of(spec), Vocabulary(), load_tokenizer(tmp_path))
    assert found.value.message == (
        f"spec.method.quantization: the layers of a {family} cannot be quantized; remove the field"
    )


def test_a_machine_without_bitsandbytes_refuses_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(RunError, match=r"^spec.method.quantization: bitsandbytes cannot be loaded where this run is"):
        method(type="NF4").refuse_misfit(loaded_from(tmp_path))


def test_each_type_is_done_and_has_its_bytes() -> None:
    assert quantized.LAYERS.keys() == planned.BYTES.keys() == LAYERS.keys()


def test_users_do_not_see_what_bitsandbytes_warns_of() -> None:
    for name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
        assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
