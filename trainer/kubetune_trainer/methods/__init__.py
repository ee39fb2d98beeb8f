"""The methods of fine-tuning: which weights are trained, gathered, written, and what must be found in the files."""

from collections.abc import Callable, Mapping

from kubetune_api.job import Method as MethodSpec
from kubetune_trainer.methods.base import Method, Trainable
from kubetune_trainer.methods.full import Full

METHODS: Mapping[str, Callable[[MethodSpec], Method]] = {"Full": lambda spec: Full(spec.freeze)}
"""By `spec.method.type`."""

__all__ = ["METHODS", "Method", "Trainable", "method_of"]


def method_of(spec: MethodSpec) -> Method:
    """The method that a manifest names."""
    return METHODS[spec.type](spec)
