"""The lengths of rows that DoRA trains (arXiv:2402.09353), in 32 bits whatever the precision of the training.

peft keeps the lengths themselves. In 16 bits they would be rounded before the first step, and most steps would be
rounded away in every pass. What is trained here is how far they have moved, which begins at 0, where 16 bits are
dense; what is published are the lengths.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from kubetune_trainer.model.adapter import MAGNITUDE


class Lengths(nn.Module):
    """What stands in the place of peft's module of one adapted layer, and computes the same."""

    def __init__(self, first: torch.Tensor, pretrained: torch.Tensor) -> None:
        """`first` are the lengths to begin with, `pretrained` those of the rows of the layer's weight."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros_like(first))
        # DeepSpeed leaves buffers in 32 bits.
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("squares", pretrained.square(), persistent=False)

    def begin_with(self, lengths: torch.Tensor) -> None:
        """Begins with other lengths than those of the pretrained weight."""
        self.first = lengths.float()

    def moved(self, by: torch.Tensor) -> torch.Tensor:
        """The lengths in 32 bits, for a value of the trained parameter."""
        first: torch.Tensor = self.first
        return first.to(by.device) + by.float()

    def forward(
        self,
        inputs: torch.Tensor,
        *,
        lora_A: Any,  # noqa: N803 - peft calls it so
        lora_B: Any,  # noqa: N803
        scaling: float,
        base_layer: Any,
        base_result: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """What is added to the output of the layer; `base_result` is that output, but for inputs of which some were
        dropped."""
        unbiased: torch.Tensor = base_layer(inputs) if base_result is None else base_result
        if base_layer.bias is not None:
            unbiased = unbiased - base_layer.bias
        share = self.moved(self.weight) / self._present(lora_A.weight, lora_B.weight, scaling, base_layer)
        learned: torch.Tensor = lora_B(lora_A(inputs)) * scaling
        return (share - 1).to(inputs.dtype) * unbiased + share.to(inputs.dtype) * learned

    @torch.no_grad()
    def _present(self, a: torch.Tensor, b: torch.Tensor, scaling: float, base_layer: Any) -> torch.Tensor:
        """The lengths of the rows of W + s·BA, which count as constants: |w|² + 2s·w·ba + s²·|ba|², without BA."""
        product = base_layer(a)
        if base_layer.bias is not None:
            product = product - base_layer.bias
        a, b = a.float(), b.float()
        crossed = (b * product.float().T).sum(dim=1)
        added = ((b @ (a @ a.T)) * b).sum(dim=1)
        squares: torch.Tensor = self.squares + 2 * scaling * crossed + scaling**2 * added
        return squares.clamp_min(torch.finfo(torch.float32).tiny).sqrt()


def keep_in_32_bits(model: nn.Module, adapter: str) -> None:
    """Replaces peft's modules of lengths, in place; as the adapter is new, those are the lengths of the layers' own
    rows."""
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer) and adapter in layer.lora_magnitude_vector:
            # Not peft's own, which it rounds to the numbers of the weight.
            lengths = _lengths_of_rows(layer)
            layer.lora_magnitude_vector[adapter] = Lengths(lengths, lengths)


def _lengths_of_rows(layer: Any) -> torch.Tensor:
    weight = layer.get_base_layer().weight.detach().float()
    lengths: torch.Tensor = torch.linalg.norm(weight.T if layer.fan_in_fan_out else weight, dim=1)
    return lengths


def is_length(name: str) -> bool:
    """Whether a parameter is the movement of lengths."""
    return f".{MAGNITUDE}." in name


def with_lengths(model: nn.Module, named: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors as they are published: lengths in place of their movements."""
    for name, tensor in named:
        if is_length(name):
            module: Any = model.get_submodule(name.removesuffix(".weight"))
            yield name, module.moved(tensor)
        else:
            yield name, tensor
