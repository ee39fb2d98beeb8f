"""Adapters in peft's format: their configuration, the names of their tensors, and how one is opened beside its base.

peft takes seconds to import, so that it is imported where an adapter is at hand.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from safetensors import safe_open

from kubetune_api.schemes import FILE, hub_name
from kubetune_trainer.storage.configs import ADAPTER_CONFIG, ADAPTER_WEIGHTS

ADAPTER = "default"
"""What peft calls the one adapter of a model."""
_INPUTS = ".lora_A."
_PREFIX = "base_model.model."
MAGNITUDE = "lora_magnitude_vector"
"""What peft calls the lengths of rows that DoRA trains."""
_TASKS = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
"""peft's name of a task, by what the class of a model ends in."""
for _name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
    # peft imports it, which warns that a package is missing by which it would run code of the hub; and of every pass in
    # 8 bits it warns that it takes place.
    logging.getLogger(_name).setLevel(logging.ERROR)


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter and not a whole model."""
    return (folder / ADAPTER_CONFIG).exists()


def published_name(name: str) -> str:
    """The name, in an adapter's files, of a parameter of a model that has the adapter in it."""
    plain = name.replace(f".{ADAPTER}.", ".")
    return _PREFIX + (plain.removesuffix(".weight") if f".{MAGNITUDE}." in plain else plain)


def stored_names(folder: Path) -> frozenset[str]:
    """The names of the tensors in the file of the adapter in `folder`."""
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        return frozenset(file.keys())


def layers_in(names: Iterable[str]) -> set[str]:
    """The layers beside which an adapter lies that has tensors of these names."""
    return {name.removeprefix(_PREFIX).partition(_INPUTS)[0] for name in names if _INPUTS in name}


def base_of(uri: str, revision: str | None) -> tuple[str, str | None]:
    """What `from_pretrained` calls the pretrained model, as far as it can be loaded from there, and its revision."""
    if name := hub_name(uri):
        return name, revision
    return uri.removeprefix(f"{FILE}://"), None


def task_type(model: Any) -> str:
    """What peft calls the task of a model."""
    if model.can_generate():
        return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    name = type(model).__name__
    return next((task for end, task in _TASKS.items() if name.endswith(end)), "FEATURE_EXTRACTION")


def save_config(config: Any, folder: Path, **published: Any) -> None:
    """Writes a configuration of peft, with the fields `published` as they are given, alike each time."""
    content = config.to_dict() | {"inference_mode": True} | published
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in content.items()}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def beside(model: Any, folder: Path) -> Any:
    """The model with the adapter of `folder` and its numbers, as peft opens it."""
    from peft import PeftModel

    with _without_its_warnings():
        return PeftModel.from_pretrained(model, str(folder))


def shapes_beside(model: Any, folder: Path) -> dict[str, tuple[int, ...]]:
    """The tensors that peft wants in the files of the adapter in `folder`, which need not be there, for `model`."""
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict

    config = PeftConfig.from_pretrained(str(folder))
    # It would be noted with a warning that this model has no name.
    config.base_model_name_or_path = None
    with _without_its_warnings():
        adapted = get_peft_model(model, config)
    # "auto" would ask the hub whether the base has as many tokens.
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@contextmanager
def _without_its_warnings() -> Iterator[None]:
    """peft asks transformers for an attribute by its old name."""
    with catch_warnings():
        simplefilter("ignore", FutureWarning)
        yield
