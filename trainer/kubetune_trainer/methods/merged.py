"""`LoRA` whose matrices are added to the pretrained weights at the end: what is published is a whole model."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kubetune_api.reasons import Reason
from kubetune_planner.states import Precision
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods.base import Shapes, Trainable
from kubetune_trainer.methods.gather import gathered
from kubetune_trainer.methods.lora import LoRA
from kubetune_trainer.methods.quantized import with_whole_weights
from kubetune_trainer.model.adapter import ADAPTER, MAGNITUDE
from kubetune_trainer.model.load import LoadedModel
from kubetune_trainer.model.stored import stored_shapes, tensor_digest
from kubetune_trainer.records import Expectation

_BASE = ".base_layer."
"""In peft's names of what it put an adapter beside."""
_ADAPTED = f"{_BASE}weight"
_MATRIX = re.compile(r"\.lora_[AB]\.")
_ROUNDED_AWAY = (
    "spec.method.lora.publish: merging leaves every weight as it was, since the precision of the training rounds away"
    " all that was learned; raise spec.training.learningRate, train for more steps, set spec.training.precision to"
    " FP32, or set publish to Adapter"
)


@dataclass(frozen=True)
class MergedLoRA:
    """See `TrainingMethod`. Trains as `LoRA` does."""

    adapter: LoRA

    def refuse_misfit(self, loaded: LoadedModel) -> None:
        """See `TrainingMethod`."""
        self.adapter.refuse_misfit(loaded)

    def rehearse(self, loaded: LoadedModel, folder: Path) -> Shapes:  # noqa: ARG002 - nothing lies beside
        """See `TrainingMethod`: what is published is a model as the pretrained one."""
        return stored_shapes(loaded.model, loaded.model.state_dict())

    def loads_as(self, precision: Precision) -> torch.dtype | None:
        """See `TrainingMethod`."""
        return self.adapter.loads_as(precision)

    def attach(self, loaded: LoadedModel, *, precision: Precision, reach: Callable[[], float]) -> Trainable:
        """See `TrainingMethod`. What is added may be less than the next number of 16 bits is away."""
        trainable = self.adapter.attach(loaded, precision=precision, reach=reach)
        adapted = {name for name in trainable.frozen if name.endswith(_ADAPTED)}
        hidden = frozenset(() if precision == "FP32" else adapted)
        return replace(trainable, may_be_unchanged=trainable.may_be_unchanged | hidden)

    def as_stored(self, model: Any) -> Mapping[str, torch.Tensor]:  # noqa: ARG002 - the matrices are yet to be added
        """See `TrainingMethod`: the matrices are yet to be added."""
        return {}

    def tensors(self, engine: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """See `TrainingMethod`: the whole model, and the matrices under names of their own."""
        return gathered(engine.module.state_dict(keep_vars=True).items())

    def write(self, trainable: Trainable, tensors: Iterable[tuple[str, torch.Tensor]], folder: Path) -> Shapes:
        """See `TrainingMethod`. The whole model is on the CPU of this process meanwhile. Quantized weights are rounded:
        the matrices are added to the pretrained ones."""
        model, state = trainable.loaded.model, dict(tensors)
        if trainable.loaded.adapter is not None and not _has_moved(state, trainable.first_values):
            raise RunError(
                Reason.VERIFICATION_FAILED,
                "No matrix of the adapter differs from its first values: nothing was trained that could be merged.",
            )
        state = merged(model, with_whole_weights(trainable.loaded, state))
        shapes = stored_shapes(model, state)
        trainable.loaded.save(folder, state)
        return shapes

    def expectation(self, trainable: Trainable, shapes: Shapes) -> Expectation:
        """See `TrainingMethod`: each adapted weight has changed, and nothing else but the heads."""
        frozen = {_plain(name) for name in trainable.frozen if not name.endswith(_ADAPTED)}
        return Expectation(
            shapes=shapes,
            base_names=trainable.loaded.base_names,
            # Of tied tensors the files hold the first alone.
            frozen=frozenset(frozen - trainable.loaded.model.all_tied_weights_keys.keys()),
            may_be_unchanged=frozenset(map(_plain, trainable.may_be_unchanged)),
            first_values={name: each for name, each in trainable.first_values.items() if name in shapes},
        )


def merged(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of `model` without its adapter, whose matrices are added to the weights; empties `state`.

    RunError where there is nothing to add, or all of it is rounded away.
    """
    from peft.tuners.lora import LoraLayer

    whole, changed = {}, False
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            weight, whole[f"{name}.weight"] = _merged(layer, name, state)
            changed = changed or not torch.equal(weight, whole[f"{name}.weight"])
    if not changed:
        raise RunError(Reason.VERIFICATION_FAILED, _ROUNDED_AWAY)
    return {_plain(name): each for name, each in state.items()} | whole


def _merged(layer: Any, name: str, state: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight of one layer: as it was, and W + s·BA, computed in 32 bits, of whose rows DoRA sets the lengths."""
    a, b = (state.pop(f"{name}.lora_{part}.{ADAPTER}.weight").float() for part in "AB")
    if not b.any():
        raise RunError(
            Reason.VERIFICATION_FAILED, f"The adapter of {name} is empty: nothing was trained that could be merged."
        )
    weight = state.pop(f"{name}{_ADAPTED}")
    scaling: float = layer.scaling[ADAPTER]
    rows: torch.Tensor = (weight.T if layer.fan_in_fan_out else weight).float() + scaling * (b @ a)
    moved = state.pop(f"{name}.{MAGNITUDE}.{ADAPTER}.weight", None)
    if moved is not None:
        length = layer.lora_magnitude_vector[ADAPTER].moved(moved)
        rows *= (length / torch.linalg.vector_norm(rows, dim=1))[:, None]
    return weight, (rows.T if layer.fan_in_fan_out else rows).to(weight.dtype).contiguous()


def _has_moved(state: Mapping[str, torch.Tensor], first: Mapping[str, str]) -> bool:
    """Whether any matrix differs from what the training began with."""
    return any(tensor_digest(state[name]) != digest for name, digest in first.items() if _MATRIX.search(name))


def _plain(name: str) -> str:
    return name.replace(_BASE, ".")
