"""Pretrained linear layers in 4 or 8 bits, by bitsandbytes: frozen, beside an adapter.

bitsandbytes rounds the numbers when a layer is moved to its device, which is when the engine takes the model: on a GPU
they are never whole.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from kubetune_api.job import Quantization
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.methods.adapted import linear_layers, whole_parts
from kubetune_trainer.model.load import LoadedModel

_OUTLIER = 6.0
"""Inputs of 8-bit layers beyond it are multiplied in 16 bits, as in transformers and the paper (arXiv:2208.07339)."""


def refuse_unquantizable(model: PreTrainedModel) -> None:
    """RunError where bitsandbytes cannot be loaded, or the model's layers are none that it knows."""
    try:
        _library()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.method.quantization: bitsandbytes cannot be loaded where this run is trained ({said}); remove the"
            " field, or use an image with it",
        ) from error
    layers = [model.get_submodule(name) for name in linear_layers(model, whole_parts(model))]
    reads_weights = getattr(model, "_keep_in_fp32_modules", None)
    if reads_weights or not all(type(layer) is nn.Linear for layer in layers):
        raise invalid_model(
            f"spec.method.quantization: the layers of a {model.config.model_type} cannot be quantized; remove the field"
        )


def quantize(model: PreTrainedModel, settings: Quantization, compute: torch.dtype) -> None:
    """Puts quantized layers in place of all linear ones but the head and the output layer; they compute in `compute`.

    They are rounded later, see above. peft is told by an attribute of the model, as transformers does.
    """
    layers = {name: model.get_submodule(name) for name in linear_layers(model, whole_parts(model))}
    make = LAYERS[settings.type]
    for name, layer in layers.items():
        assert isinstance(layer, nn.Linear)
        model.set_submodule(name, make(layer, settings, compute))
    setattr(model, _TOLD_TO_PEFT[settings.type], True)


def with_whole_weights(loaded: LoadedModel, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of the model with the pretrained numbers in place of quantized ones, read again from their files."""
    if not any(hasattr(loaded.model, told) for told in _TOLD_TO_PEFT.values()):
        return state
    kinds = _library().nn.Linear4bit, _library().nn.Linear8bitLt
    quantized = [name for name, each in loaded.model.named_modules() if isinstance(each, kinds)]
    # Beside its bias, what such a layer stores are constants.
    constants = tuple(f"{name}.{part}" for name in quantized for part in ("weight.", "SCB", "weight_format"))
    whole = {name: values for name, values in state.items() if not name.startswith(constants)}
    number = next(values.dtype for name, values in state.items() if ".lora_" in name)
    wanted = {loaded.base_names[f"{name.removesuffix(_WRAPPED)}.weight"]: f"{name}.weight" for name in quantized}
    for path in loaded.folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for known in wanted.keys() & set(file.keys()):
                whole[wanted[known]] = file.get_tensor(known).to(number)
    return whole


def _nf4(layer: nn.Linear, settings: Quantization, compute: torch.dtype) -> nn.Module:
    bits = _library().nn
    with torch.device("meta"):
        new = bits.Linear4bit(layer.in_features, layer.out_features, bias=False, compute_dtype=compute)
    new.weight = bits.Params4bit(
        layer.weight.data, quant_type="nf4", compress_statistics=settings.double_quantization, module=new
    )
    # It would compute in BF16 in evaluations, and with code from the hub where that is there.
    new.support_avx512bf16_for_cpu = False
    new.bias = layer.bias
    return new  # type: ignore[no-any-return]


def _int8(layer: nn.Linear, _settings: Quantization, _compute: torch.dtype) -> nn.Module:
    bits = _library().nn
    with torch.device("meta"):
        new = bits.Linear8bitLt(
            layer.in_features, layer.out_features, bias=False, has_fp16_weights=False, threshold=_OUTLIER
        )
    new.weight = bits.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    new.bias = layer.bias
    return new  # type: ignore[no-any-return]


LAYERS: Mapping[str, Callable[[nn.Linear, Quantization, torch.dtype], nn.Module]] = {"NF4": _nf4, "Int8": _int8}
_WRAPPED = ".base_layer"
"""What peft adds to the name of a layer that it puts an adapter beside."""
_TOLD_TO_PEFT = {"NF4": "is_loaded_in_4bit", "Int8": "is_loaded_in_8bit"}


def _library() -> Any:
    """bitsandbytes, which takes a second to import."""
    import bitsandbytes

    return bitsandbytes
