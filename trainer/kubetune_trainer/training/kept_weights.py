"""A copy of an engine's weights in main memory: those of the best step, while the training goes on."""

from typing import Any

import torch
import torch.distributed as dist


class KeptWeights:
    """The trained weights as they were at one step, in the numbers that the model computes with.

    The training does not go on from them, so neither the optimizer's states nor its 32-bit weights are kept. At the
    stages 0 to 2 rank 0 keeps all of them, and at stage 3 each rank its own part.
    """

    def __init__(self, engine: Any) -> None:
        self._trained = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
        self._copies: list[torch.Tensor | None] = []

    def keep(self) -> None:
        """Copies the weights as they are now, in the place of those that were kept before."""
        if not self._copies:
            self._copies = [self._copied(parameter) for parameter in self._trained]
            return
        for copy, parameter in zip(self._copies, self._trained, strict=True):
            if copy is not None:
                copy.copy_(_held(parameter))

    def put_back(self) -> None:
        """Gives the engine what is kept, and lets it go. Every rank takes part."""
        for copy, parameter in zip(self._copies, self._trained, strict=True):
            held = _held(parameter)
            if copy is not None:
                held.copy_(copy)
            if not _is_partitioned(parameter):
                dist.broadcast(held, src=0)
            elif parameter.ds_status.name == "AVAILABLE":
                # A small one stays gathered between steps: the next pass gathers it anew.
                parameter.partition()
        self._copies = []

    def _copied(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        if dist.get_rank() and not _is_partitioned(parameter):
            return None
        return _held(parameter).to("cpu", copy=True)


def _held(parameter: Any) -> torch.Tensor:
    """What this rank holds of it."""
    held: torch.Tensor = parameter.ds_tensor.data if _is_partitioned(parameter) else parameter.data
    return held


def _is_partitioned(parameter: Any) -> bool:
    return hasattr(parameter, "ds_tensor")
