"""Whether the files beside the weights let others load them: they are opened as anyone would open them.

The model is built on torch's meta device, which holds shapes and no numbers, so that this takes next to no memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PretrainedConfig, PreTrainedModel

from kubetune_trainer.methods.base import Shapes
from kubetune_trainer.model.adapter import beside, is_adapter, shapes_beside
from kubetune_trainer.model.fit import is_pooler
from kubetune_trainer.model.stored import stored_shapes
from kubetune_trainer.storage.configs import ADAPTER_CONFIG

_SAFETY = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}


def opened(folder: Path, model_class: Any, base: Path) -> Any:
    """The model in `folder` with its numbers; an adapter beside the pretrained model in the folder `base`."""
    if not is_adapter(folder):
        return model_class.from_pretrained(folder, **_SAFETY)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
    model = model_class.from_pretrained(base, config=config, generation_config=generation, **_SAFETY)
    return beside(model, folder)


def opening_errors(folder: Path, shapes: Shapes, model_class: Any) -> Iterator[str]:
    """Why the model in `folder`, of which only the weights need not be there, cannot be used.

    `shapes` are the tensors that its weights consist of, `model_class` the auto class of its task.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = _without_numbers(config, model_class)
    except Exception as error:  # whatever the parsers of a damaged file may stumble over
        yield f"config.json does not load ({why_not(error, folder)})"
        return  # the tokenizer's class is looked up there too
    yield from _adapter_errors(model, folder, shapes) if is_adapter(folder) else _model_errors(model, shapes)
    try:
        AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        yield f"the tokenizer does not load ({why_not(error, folder)})"


def _without_numbers(config: PretrainedConfig, model_class: Any) -> PreTrainedModel:
    """The model of the class that `config` names; ValueError if it is not that of the task."""
    with torch.device("meta"):
        model: PreTrainedModel = model_class.from_config(config, trust_remote_code=False)
    if config.architectures != [type(model).__name__]:
        raise ValueError(f"its architectures {config.architectures} are not the trained {type(model).__name__}")
    return model


def _model_errors(model: PreTrainedModel, shapes: Shapes) -> Iterator[str]:
    state = model.state_dict()
    # Of a model without a head nobody reads the pooler, which need not be there.
    needed = {name for name in stored_shapes(model, state) if model.base_model is not model or not is_pooler(name)}
    for name in sorted(needed - shapes.keys()):
        yield f"config.json describes a model with the tensor {name}, which was not trained"
    for name in sorted(shapes):
        if name not in state:
            yield f"config.json describes a model without the tensor {name}"
        elif tuple(state[name].shape) != tuple(shapes[name]):
            yield f"config.json gives the tensor {name} the shape {tuple(state[name].shape)}, not {tuple(shapes[name])}"


def _adapter_errors(model: PreTrainedModel, folder: Path, shapes: Shapes) -> Iterator[str]:
    try:
        wanted = shapes_beside(model, folder)
    except Exception as error:  # whatever peft may stumble over
        yield f"{ADAPTER_CONFIG} does not load ({why_not(error, folder)})"
        return
    for name in sorted(wanted.keys() | shapes.keys()):
        if name not in shapes:
            yield f"{ADAPTER_CONFIG} describes an adapter with the tensor {name}, which was not trained"
        elif name not in wanted:
            yield f"{ADAPTER_CONFIG} describes an adapter without the tensor {name}"
        elif wanted[name] != tuple(shapes[name]):
            yield f"{ADAPTER_CONFIG} gives the tensor {name} the shape {wanted[name]}, not {tuple(shapes[name])}"


def why_not(error: Exception, folder: Path) -> str:
    """The error's first sentence, without the path of `folder`."""
    sentence = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
    return sentence.replace(f"{folder}/", "").replace(str(folder), "the folder")
