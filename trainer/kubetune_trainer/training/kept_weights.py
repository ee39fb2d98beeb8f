"""A copy of an engine's weights in main memory: those of the best step, while the training goes on."""

from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from kubetune_trainer.training.engine_state import (
    Ends,
    Range,
    Reader,
    gathered_anew,
    held_weights,
    is_partitioned,
    trained,
)


class KeptWeights:
    """The trained weights as they were at one step, in the numbers that the model computes with.

    The training does not go on from them, so neither the optimizer's states nor its 32-bit weights are kept. At the
    stages 0 to 2 rank 0 keeps all of them, and at stage 3 each rank its own part.
    """

    def __init__(self, engine: Any) -> None:
        self._names, self._trained = zip(*trained(engine), strict=True)
        self._copies: list[torch.Tensor | None] = []

    def held(self) -> dict[str, Range]:
        """What this rank keeps, by `best/NAME`; nothing where nothing is kept yet."""
        found = {}
        for name, copy, parameter in zip(self._names, self._copies, self._trained, strict=bool(self._copies)):
            if copy is not None:
                here = held_weights(parameter)
                found[f"best/{name}"] = replace(here, values=copy.view(-1)[: len(here.values)])
        return found

    def wanted(self) -> dict[str, Ends]:
        """Which numbers of what was stored this rank is to keep, by `best/NAME`; for `restore`."""
        both = zip(self._names, self._trained, strict=True)
        held = {name: held_weights(parameter) for name, parameter in both if _is_kept(parameter)}
        return {f"best/{name}": (one.start, one.start + len(one.values)) for name, one in held.items()}

    def restore(self, read: Reader) -> None:
        """Keeps what was stored of another group of ranks."""
        self._copies = [self._copied(parameter) for parameter in self._trained]
        for name, copy, parameter in zip(self._names, self._copies, self._trained, strict=True):
            if copy is not None:
                here = held_weights(parameter)
                copy.view(-1)[: len(here.values)] = read(f"best/{name}", here.start, len(here.values))

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
            if not is_partitioned(parameter):
                dist.broadcast(held, src=0)
            gathered_anew(parameter)
        self._copies = []

    def _copied(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        return _held(parameter).to("cpu", copy=True) if _is_kept(parameter) else None


def _is_kept(parameter: Any) -> bool:
    """Whether this rank is the one, or one of those, that keep it."""
    return dist.get_rank() == 0 or is_partitioned(parameter)


def _held(parameter: Any) -> torch.Tensor:
    """What this rank holds of it."""
    held: torch.Tensor = parameter.ds_tensor.data if is_partitioned(parameter) else parameter.data
    return held
