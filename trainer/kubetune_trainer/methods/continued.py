"""Training on from a published adapter: its settings for the job, its numbers for the model."""

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from kubetune_api.job import FineTuneJob
from kubetune_api.job import LoRA as Settings
from kubetune_api.methods import METHODS
from kubetune_api.reasons import Reason
from kubetune_api.tables import listed
from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.methods.dora import Lengths, is_length
from kubetune_trainer.model.adapter import layers_in, published_name, stored_names
from kubetune_trainer.model.load import LoadedModel
from kubetune_trainer.storage.adapters import AdapterSettings, adapter_settings
from kubetune_trainer.storage.configs import ADAPTER_WEIGHTS
from kubetune_trainer.storage.models import ADAPTER_FOLDER

_SHOWN = 3
_NUMBERED = re.compile(r"^.*\.\d+\.")
_SAME = "name its layers in targetModules, or leave targets and targetModules out to train the layers of the adapter"


def going_on(job: FineTuneJob, folder: Path) -> FineTuneJob:
    """The job, in which no default is filled in yet, with the settings of the adapter in the model's `folder`; the same
    where there is none. RunError (INVALID_MANIFEST) where it sets them otherwise."""
    adapter, method = folder / ADAPTER_FOLDER, job.spec.method
    if not adapter.is_dir():
        return job
    found = adapter_settings(job.spec.model.uri, adapter)
    if not METHODS[method.type].settings:
        raise _refused(
            f"method.type: {method.type} trains whole models, and model.uri names an adapter; set it to LoRA to train"
            " that on, or name a whole model, as a run with method.lora.publish set to Merged publishes it"
        )
    lora = method.lora or Settings()
    _refuse_others(lora, found)
    update: dict[str, Any] = {"rank": found.rank, "alpha": found.alpha, "variant": found.variant}
    if lora.targets is None and lora.target_modules is None:
        update["target_modules"] = list(found.modules or _layers_stored(job.spec.model.uri, adapter))
    method = method.model_copy(update={"lora": lora.model_copy(update=update)})
    if method.quantization and found.variant == "DoRA":
        raise _refused(
            "method.quantization: the adapter is a DoRA, which needs the lengths of weights that are not rounded;"
            " remove it"
        )
    if job.spec.zero.stage is not None and job.spec.zero.stage > method.highest_stage:
        raise _refused(
            f"zero.stage: the adapter is a {found.variant}, which reads whole weights; set stage to"
            f" {method.highest_stage} or less"
        )
    return job.model_copy(update={"spec": job.spec.model_copy(update={"method": method})})


def _layers_stored(uri: str, adapter: Path) -> list[str]:
    """What the layers with matrices are called within each layer of the model: the job holds no list of all of them."""
    found = {_NUMBERED.sub("", name) for name in layers_in(stored_names(adapter))}
    if not found:
        raise invalid_model(f"{uri}/{ADAPTER_WEIGHTS} holds no matrices of LoRA; take the adapter again.")
    return sorted(found)


def _refuse_others(lora: Settings, found: AdapterSettings) -> None:
    for field, asked, there in (
        ("rank", lora.rank, found.rank),
        ("alpha", lora.alpha, found.alpha),
        ("variant", lora.variant, found.variant),
    ):
        if asked not in (None, there):
            raise _refused(
                f"method.lora.{field}: the adapter that is trained on was made with {there}, not {asked}; set it so, or"
                " leave it out"
            )


def refuse_other_layers(loaded: LoadedModel, settings: Settings, layers: Collection[str]) -> None:
    """RunError where the adapter has matrices at other layers than the job wants."""
    assert loaded.adapter is not None, "there is an adapter"
    there = layers_in(stored_names(loaded.adapter))
    if there == set(layers):
        return
    field = "targets" if settings.target_modules is None else "targetModules"
    only_there, only_asked = sorted(there - set(layers)), sorted(set(layers) - there)
    what = f"has none at {_some(only_asked)}" if only_asked else f"has some at {_some(only_there)} as well"
    raise _refused(f"method.lora.{field}: the matrices of an adapter stay where they are, and this one {what}; {_SAME}")


def with_numbers(loaded: LoadedModel) -> LoadedModel:
    """Puts the numbers of the adapter into the model, in place, which has its matrices already. What they replace is no
    longer the base model's.

    RunError where the adapter holds anything else. A head for other labels stays behind.
    """
    if loaded.adapter is None:
        return loaded
    trained = {name: each for name, each in loaded.model.named_parameters() if each.requires_grad}
    head = {name for name in trained if _in_head(loaded, name)} if loaded.head_is_new else set()
    taken = set()
    with safe_open(loaded.adapter / ADAPTER_WEIGHTS, framework="pt") as file:
        left = set(file.keys()) - {published_name(name) for name in head}
        for name in trained.keys() - head:
            if published_name(name) in left:
                _restore(loaded.model, name, trained[name], file.get_tensor(published_name(name)))
                taken.add(name)
    if strange := left - {published_name(name) for name in taken}:
        raise invalid_model(
            f"spec.model.uri: the adapter holds weights that are not trained here ({_some(sorted(strange))}); train it"
            " on for the task that it was made for, or merge it into its base model"
        )
    return replace(loaded, base_names={name: known for name, known in loaded.base_names.items() if name not in taken})


def _in_head(loaded: LoadedModel, name: str) -> bool:
    model = loaded.model
    return model.base_model is not model and not name.startswith(f"{model.base_model_prefix}.")


@torch.no_grad()
def _restore(model: Any, name: str, parameter: torch.nn.Parameter, values: torch.Tensor) -> None:
    if parameter.shape != values.shape:
        raise invalid_model(
            f"spec.model.uri: the adapter holds {published_name(name)} in the shape {tuple(values.shape)}, and this"
            f" model wants {tuple(parameter.shape)}; take the adapter again from its source"
        )
    if parameter.is_meta:
        return
    if is_length(name):
        lengths: Lengths = model.get_submodule(name.removesuffix(".weight"))
        lengths.begin_with(values)
    else:
        parameter.copy_(values)


def _some(names: list[str]) -> str:
    return listed([*names[:_SHOWN], *([f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])])


def _refused(message: str) -> RunError:
    return RunError(Reason.INVALID_MANIFEST, f"spec.{message}")
