"""The methods of fine-tuning: which weights are trained, gathered, written, and what must be found in the files."""

from collections.abc import Callable, Mapping

from kubetune_api.job import LoRA as LoRASettings
from kubetune_api.job import Method, Quantization
from kubetune_trainer.methods.base import Trainable, TrainingMethod
from kubetune_trainer.methods.continued import going_on
from kubetune_trainer.methods.full import Full
from kubetune_trainer.methods.lora import LoRA
from kubetune_trainer.methods.merged import MergedLoRA

METHODS: Mapping[str, Callable[[Method], TrainingMethod]] = {
    "Full": lambda spec: Full(spec.freeze),
    "LoRA": lambda spec: _lora((spec.lora or LoRASettings()).resolved, spec.quantization),
}
"""By `spec.method.type`."""

__all__ = ["METHODS", "Trainable", "TrainingMethod", "going_on", "method_of"]


def _lora(settings: LoRASettings, quantization: Quantization | None) -> TrainingMethod:
    adapter = LoRA(settings, quantization)
    return MergedLoRA(adapter) if settings.publish == "Merged" else adapter


def method_of(spec: Method) -> TrainingMethod:
    """The method that a manifest names."""
    return METHODS[spec.type](spec)
