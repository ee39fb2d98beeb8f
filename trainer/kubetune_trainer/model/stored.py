"""What a model's files hold: which tensors, in which shapes, and their values as digests."""

import hashlib
from collections.abc import Mapping

import torch
from transformers import PreTrainedModel


def stored_shapes(model: PreTrainedModel, state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The tensors of `state` that the files of `model` must hold: of tied ones only the first is stored."""
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name not in model.all_tied_weights_keys}


def tensor_digest(values: torch.Tensor) -> str:
    """The sha256 of the numbers, bit for bit in the type that they have; 64 hexadecimal digits."""
    return hashlib.sha256(as_bytes(values).cpu().numpy().data).hexdigest()


def as_bytes(values: torch.Tensor) -> torch.Tensor:
    """The same memory as bytes, shape [size in bytes]."""
    return values.contiguous().reshape(-1).view(torch.uint8)
