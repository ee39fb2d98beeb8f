"""`LoRA`: the pretrained weights stay, small matrices beside them are trained by peft, and new heads whole.

The adapter is put into the model in place, so that it stays a model of transformers. peft would train a head as a copy
beside the pretrained one; here it is trained in its own place, and published under the names that peft gives the copy.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from kubetune_api.job import LoRA as Settings
from kubetune_api.job import Quantization
from kubetune_api.reasons import Reason
from kubetune_planner.states import Precision
from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.methods.adapted import adapted_layers, is_transposed, shortest_names, whole_parts
from kubetune_trainer.methods.base import STORED_AS, Shapes, Trainable
from kubetune_trainer.methods.continued import refuse_other_layers, with_numbers
from kubetune_trainer.methods.dora import is_length, keep_in_32_bits, with_lengths
from kubetune_trainer.methods.first_values import first_values
from kubetune_trainer.methods.freeze import may_be_unchanged, stored_buffers
from kubetune_trainer.methods.gather import gathered
from kubetune_trainer.methods.quantized import quantize, refuse_unquantizable
from kubetune_trainer.methods.rounding import hidden_by_rounding
from kubetune_trainer.model.adapter import ADAPTER, base_of, published_name, save_config, task_type
from kubetune_trainer.model.gguf import is_converted
from kubetune_trainer.model.load import LoadedModel
from kubetune_trainer.model.stored import tensor_digest
from kubetune_trainer.records import Expectation
from kubetune_trainer.storage.configs import ADAPTER_WEIGHTS

_INPUTS = ".lora_A."
"""In the names of the matrices that begin as noise. The others begin as zeros, so that these have no gradient in the
first step, and a run of one step leaves them."""


@dataclass(frozen=True)
class LoRA:
    """See `TrainingMethod`. Publishes the adapter alone."""

    settings: Settings
    quantization: Quantization | None = None
    """How the frozen weights are stored, if not as they are."""

    def refuse_misfit(self, loaded: LoadedModel) -> None:
        """See `TrainingMethod`."""
        if self.settings.publish == "Adapter" and is_converted(loaded.folder):
            raise RunError(
                Reason.INVALID_MANIFEST,
                "spec.method.lora.publish: an adapter is loaded beside a folder of safetensors files, and this model is"
                " a GGUF file; set it to Merged",
            )
        layers = adapted_layers(loaded.model, self.settings, whole_parts(loaded.model))
        if loaded.adapter is not None:
            refuse_other_layers(loaded, self.settings, layers)
        if not layers:
            raise invalid_model("spec.method: the model has no linear layer that LoRA can adapt; set type to Full")
        if self.quantization:
            refuse_unquantizable(loaded.model)

    def rehearse(self, loaded: LoadedModel, folder: Path) -> Shapes:
        """See `TrainingMethod`."""
        whole = whole_parts(loaded.model)
        self._put_into(loaded.model, whole, adapted_layers(loaded.model, self.settings, whole))
        return self._describe(with_numbers(loaded), folder)

    def loads_as(self, precision: Precision) -> torch.dtype | None:
        """See `TrainingMethod`. peft rounds what it draws to the numbers of the layer beside it."""
        return STORED_AS[precision]

    def attach(self, loaded: LoadedModel, *, precision: Precision, reach: Callable[[], float]) -> Trainable:
        """See `TrainingMethod`."""
        model, whole = loaded.model, whole_parts(loaded.model)
        adapted = adapted_layers(model, self.settings, whole)
        if self.quantization:
            quantize(model, self.quantization, STORED_AS[precision])
        self._put_into(model, whole, adapted)
        loaded = with_numbers(loaded)
        parameters = dict(model.named_parameters())
        trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
        unchanged = {name for name in may_be_unchanged(model, short=precision != "FP32") if not is_length(name)}
        if loaded.adapter is None:
            unchanged |= {name for name in trained if _INPUTS in name}
        hidden = frozenset() if precision == "FP32" else hidden_by_rounding(model, reach(), precision)
        first = first_values(loaded, trained, precision)
        lengths = ((name, trained[name].detach()) for name in first if is_length(name))
        return Trainable(
            loaded,
            frozenset(parameters.keys() - trained.keys()) | (stored_buffers(model) & loaded.base_names.keys()),
            frozenset(unchanged | hidden),
            first | {name: tensor_digest(values) for name, values in with_lengths(model, lengths)},
        )

    def as_stored(self, model: Any) -> Mapping[str, torch.Tensor]:  # noqa: ARG002 - an adapter is small
        """See `TrainingMethod`: an adapter is small."""
        return {}

    def tensors(self, engine: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """See `TrainingMethod`."""
        trained = ((name, each) for name, each in engine.module.named_parameters() if each.requires_grad)
        return gathered(trained)

    def write(self, trainable: Trainable, tensors: Iterable[tuple[str, torch.Tensor]], folder: Path) -> Shapes:
        """See `TrainingMethod`. The shapes are the model's own, whatever was gathered."""
        loaded = trainable.loaded
        model = loaded.model
        save_file(
            {published_name(name): tensor.contiguous() for name, tensor in with_lengths(model, tensors)},
            folder / ADAPTER_WEIGHTS,
            metadata={"format": "pt"},
        )
        return self._describe(loaded, folder)

    def _put_into(self, model: Any, whole: tuple[str, ...], adapted: tuple[str, ...]) -> None:
        _inject(model, self.settings, adapted)
        for name in whole:
            model.get_submodule(name).requires_grad_(True)

    def _describe(self, loaded: LoadedModel, folder: Path) -> Shapes:
        """Writes what lies beside the weights; the shapes of these."""
        model: Any = loaded.model
        loaded.save_settings(folder)
        base, revision = base_of(loaded.source.uri, loaded.source.revision)
        save_config(
            model.peft_config[ADAPTER],
            folder,
            base_model_name_or_path=base,
            revision=revision,
            modules_to_save=list(whole_parts(model)) or None,
            task_type=task_type(model),
        )
        return {
            published_name(name): tuple(getattr(parameter, "ds_shape", parameter.shape))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    def expectation(self, trainable: Trainable, shapes: Shapes) -> Expectation:
        """See `TrainingMethod`: each second matrix is no longer zero, and each head has changed."""
        base_names = trainable.loaded.base_names
        return Expectation(
            shapes=shapes,
            base_names={published_name(name): known for name, known in base_names.items()},
            may_be_unchanged=frozenset(map(published_name, trainable.may_be_unchanged)),
            first_values={published_name(name): digest for name, digest in trainable.first_values.items()},
        )


def _inject(model: Any, settings: Settings, layers: tuple[str, ...]) -> None:
    """Puts the adapter into the model, in place; all else is frozen."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=shortest_names(model, layers),
        use_rslora=settings.variant == "RsLoRA",
        use_dora=settings.variant == "DoRA",
        # peft would set it for each layer, with a warning.
        fan_in_fan_out=all(is_transposed(model, name) for name in layers),
    )
    inject_adapter_in_model(config, model)
    keep_in_32_bits(model, ADAPTER)
