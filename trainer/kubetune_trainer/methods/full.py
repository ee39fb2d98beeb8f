"""`Full`: every weight that is not frozen is trained, and the whole model is published."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kubetune_api.job import Freeze
from kubetune_planner.states import Precision
from kubetune_trainer.methods.base import Shapes, Trainable
from kubetune_trainer.methods.first_values import first_values
from kubetune_trainer.methods.freeze import freeze, may_be_unchanged, stored_buffers
from kubetune_trainer.methods.gather import gathered
from kubetune_trainer.methods.rounding import hidden_by_rounding
from kubetune_trainer.model.load import LoadedModel
from kubetune_trainer.model.stored import stored_shapes
from kubetune_trainer.records import Expectation


@dataclass(frozen=True)
class Full:
    """See `TrainingMethod`."""

    frozen: Freeze
    """What the manifest wants to stay as it is."""

    def refuse_misfit(self, loaded: LoadedModel) -> None:
        """See `TrainingMethod`: every model has weights."""

    def rehearse(self, loaded: LoadedModel, folder: Path) -> Shapes:  # noqa: ARG002 - nothing lies beside
        """See `TrainingMethod`: the configuration is all."""
        return stored_shapes(loaded.model, loaded.model.state_dict())

    def loads_as(self, precision: Precision) -> torch.dtype | None:  # noqa: ARG002 - the engine converts each weight
        """See `TrainingMethod`."""
        return None

    def attach(self, loaded: LoadedModel, *, precision: Precision, reach: Callable[[], float]) -> Trainable:
        """See `TrainingMethod`."""
        model = loaded.model
        frozen = freeze(model, model.base_model, loaded.family, self.frozen)
        frozen |= stored_buffers(model) & loaded.base_names.keys()
        hidden = frozenset() if precision == "FP32" else hidden_by_rounding(model, reach(), precision)
        return Trainable(
            loaded,
            frozen,
            may_be_unchanged(model, short=precision != "FP32") | hidden,
            first_values(loaded, dict(model.named_parameters()), precision),
        )

    def as_stored(self, model: Any) -> Mapping[str, torch.Tensor]:
        """See `TrainingMethod`: each weight as it is trained."""
        state = model.state_dict(keep_vars=True)
        return {name: state[name] for name in stored_shapes(model, state)}

    def tensors(self, engine: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """See `TrainingMethod`. Tied weights are one tensor under several names, so that they are written once."""
        return gathered(engine.module.state_dict(keep_vars=True).items())

    def write(self, trainable: Trainable, tensors: Iterable[tuple[str, torch.Tensor]], folder: Path) -> Shapes:
        """See `TrainingMethod`. The whole model is on the CPU of this process meanwhile: one that is small enough for a
        single file."""
        state = dict(tensors)
        shapes = stored_shapes(trainable.loaded.model, state)
        trainable.loaded.save(folder, state)
        return shapes

    def expectation(self, trainable: Trainable, shapes: Shapes) -> Expectation:
        """See `TrainingMethod`: what was trained has changed, what is frozen has not."""
        return Expectation(
            shapes=shapes,
            base_names=trainable.loaded.base_names,
            # Of tied tensors the files hold the first alone.
            frozen=trainable.frozen - trainable.loaded.model.all_tied_weights_keys.keys(),
            may_be_unchanged=trainable.may_be_unchanged,
            first_values=trainable.first_values,
        )
