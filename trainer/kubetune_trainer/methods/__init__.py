"""The methods of fine-tuning: which weights are trained, gathered, written, and what must be found in the files."""

from collections.abc import Callable, Mapping

from kubetune_api.job import Method
from kubetune_trainer.methods.base import Trainable, TrainingMethod
from kubetune_trainer.methods.full import Full

METHODS: Mapping[str, Callable[[Method], TrainingMethod]] = {"Full": lambda spec: Full(spec.freeze)}
"""By `spec.method.type`."""

__all__ = ["METHODS", "Trainable", "TrainingMethod", "method_of"]


def method_of(spec: Method) -> TrainingMethod:
    """The method that a manifest names."""
    return METHODS[spec.type](spec)
