"""Which layers of a model an adapter is put beside, and which parts are trained whole with it."""

import re
from collections.abc import Collection, Iterator

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kubetune_api.job import LoRA
from kubetune_api.tables import listed
from kubetune_trainer.errors import RunError, invalid_model

_ATTENTION = re.compile("attn|attention", re.IGNORECASE)
_POOLER = "pooler"
_SHOWN = 20


def whole_parts(model: PreTrainedModel) -> tuple[str, ...]:
    """The modules that are trained whole: the head of a task, and the pooler that it reads."""
    output, base = model.get_output_embeddings(), getattr(model, model.base_model_prefix, model)
    heads = [
        name
        for name, part in model.named_children()
        if part not in (output, base) and base is not model and any(True for _ in part.parameters())
    ]
    poolers = [name for name, part in model.named_modules() if name.rpartition(".")[2] == _POOLER and _is_read(part)]
    return tuple(dict.fromkeys([*poolers, *heads]))


def adapted_layers(model: PreTrainedModel, settings: LoRA, whole: Collection[str]) -> tuple[str, ...]:
    """The linear layers that get an adapter, by name; `whole` are the parts that are trained anyway.

    RunError where the manifest names a layer that is not there.
    """
    linear = linear_layers(model, whole)
    if settings.target_modules is None:
        attention = [name for name in linear if _ATTENTION.search(name)]
        return tuple(attention) if settings.targets == "Attention" else linear
    for wanted in settings.target_modules:
        if not any(_ends_with(name, wanted) for name in linear):
            raise _no_such_layer(wanted, linear)
    return tuple(name for name in linear if any(_ends_with(name, wanted) for wanted in settings.target_modules))


def shortest_names(model: nn.Module, wanted: Collection[str]) -> list[str]:
    """The shortest ends of names that stand for these modules and no other, as adapters are published with."""
    others = [name for name, _ in model.named_modules() if name not in set(wanted)]
    found: dict[str, bool] = {}
    names = set()
    for name in wanted:
        parts = name.split(".")
        for end in (".".join(parts[i:]) for i in reversed(range(len(parts)))):
            if end not in found:
                found[end] = not any(_ends_with(other, end) for other in others)
            if found[end]:
                names.add(end)
                break
    return sorted(names)


def is_transposed(model: nn.Module, name: str) -> bool:
    """Whether the layer keeps its weight as GPT-2 does: a row for each input."""
    return isinstance(model.get_submodule(name), Conv1D)


def linear_layers(model: PreTrainedModel, whole: Collection[str]) -> tuple[str, ...]:
    """All linear layers but the output layer and those in `whole`, by name."""
    return tuple(_linear(model, whole))


def _linear(model: PreTrainedModel, whole: Collection[str]) -> Iterator[str]:
    output = model.get_output_embeddings()
    for name, module in model.named_modules():
        in_whole = any(name == part or name.startswith(f"{part}.") for part in whole)
        if isinstance(module, (nn.Linear, Conv1D)) and module is not output and not in_whole and _is_read(module):
            yield name


def _is_read(part: nn.Module) -> bool:
    """Loading freezes what is left over from another task."""
    return any(each.requires_grad for each in part.parameters())


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _no_such_layer(wanted: str, linear: Collection[str]) -> RunError:
    there = sorted({re.sub(r"^.*\.\d+\.", "", name) for name in linear})
    shown = [*there[:_SHOWN], *([f"{len(there) - _SHOWN} more"] if len(there) > _SHOWN else [])]
    return invalid_model(
        f"spec.method.lora.targetModules: the model has no linear layer {wanted} that can be adapted; those in its"
        f" layers are {listed(shown)}"
    )
