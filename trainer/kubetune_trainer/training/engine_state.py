"""Where an engine keeps what a training goes on from: the weights in full precision, and what the optimizer remembers.

Each ZeRO stage keeps it elsewhere and cut otherwise. Here all of it is ranges of parameters by name, the same for every
stage and any number of ranks.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist

Reader = Callable[[str, int, int], torch.Tensor]
"""Reads a range of a stored tensor: its name, the first number, and how many."""
Ends = tuple[int, int]
"""Of a range: its first number, and the one behind its last."""


class Stored(Protocol):
    """What was stored of all ranks, of which this one has what it wants."""

    sizes: dict[str, int]
    """By name: the numbers of each whole tensor."""

    def read(self, name: str, start: int, count: int) -> torch.Tensor:
        """See `Reader`."""

    def spread(self, name: str, to: torch.Tensor) -> None:
        """Fills the whole of a tensor. Every rank calls it."""


@dataclass(frozen=True)
class Range:
    """Consecutive numbers of a tensor that is taken as flat, as one rank holds them."""

    start: int
    values: torch.Tensor
    """Flat: the very memory of the engine, or a copy in main memory."""
    size: int
    """The numbers of the whole tensor."""


@dataclass(frozen=True)
class _Part:
    """The range of a parameter that this rank's optimizer works on."""

    name: str
    size: int
    start: int
    count: int
    owner: torch.Tensor
    """What the optimizer knows: the parameter, or a flat tensor of many."""
    offset: int
    """Where in it the range begins."""

    def of(self, like: torch.Tensor) -> torch.Tensor:
        """The range of a tensor of the owner's shape."""
        return like.detach().view(-1)[self.offset : self.offset + self.count]


def trained(engine: Any) -> Iterator[tuple[str, Any]]:
    """The trained parameters by name; those under several names once."""
    named = engine.module.named_parameters()
    return ((name, parameter) for name, parameter in named if parameter.requires_grad)


def held_weights(parameter: Any) -> Range:
    """What this rank holds of a parameter in the numbers that the model computes with."""
    if not is_partitioned(parameter):
        return Range(0, parameter.data.view(-1), parameter.numel())
    share = parameter.ds_tensor.data
    start = dist.get_rank() * parameter.ds_tensor.ds_numel
    return Range(start, share[: max(0, parameter.ds_numel - start)], parameter.ds_numel)


def is_partitioned(parameter: Any) -> bool:
    """Whether ZeRO-3 has cut it."""
    return hasattr(parameter, "ds_tensor")


def gathered_anew(parameter: Any) -> None:
    """Call it where the held part has changed: a small one stays gathered between steps, until the next pass."""
    if is_partitioned(parameter) and parameter.ds_status.name == "AVAILABLE":
        parameter.partition()


def state_of(engine: Any) -> dict[str, Range]:
    """The share of this rank: `weight/NAME`, and `state/KEY/NAME` of what the optimizer remembers.

    Together, the ranks have each number once; but for what has another shape than its parameter, which each has whole.
    """
    found = {}
    # At stage 0 every rank has all: each stores a share.
    share = (0, 1) if engine.zero_optimization() else (dist.get_rank(), dist.get_world_size())
    for part in _parts(engine):
        first, last = (part.count * place // share[1] for place in (share[0], share[0] + 1))
        found[f"weight/{part.name}"] = Range(part.start + first, part.of(part.owner)[first:last], part.size)
        for key, value in _states(engine, part.owner).get(part.owner, {}).items():
            name = f"state/{key}/{part.name}"
            if value.shape == part.owner.shape:
                found[name] = Range(part.start + first, part.of(value)[first:last], part.size)
            elif part.start == share[0] == 0:
                found[f"whole/{key}/{part.name}"] = Range(0, value.detach().reshape(-1), value.numel())
    return found


def shapes_of(engine: Any) -> dict[str, list[int]]:
    """Those of `whole/…` that are no single number, which only stage 0 has."""
    return {
        f"whole/{key}/{part.name}": list(value.shape)
        for part in _parts(engine)
        for key, value in _states(engine, part.owner).get(part.owner, {}).items()
        if value.ndim and value.shape != part.owner.shape
    }


def wanted(engine: Any, names: Iterable[str]) -> dict[str, Ends]:
    """Which numbers of what was stored under these names this rank holds, for `restore`; but for what `is_whole`."""
    found, keys = {}, _keys(names)
    for part in _parts(engine):
        ends = (part.start, part.start + part.count)
        found[f"weight/{part.name}"] = ends
        found |= {f"state/{key}/{part.name}": ends for kind, key in keys.get(part.name, ()) if kind == "state"}
    return found


def is_whole(name: str) -> bool:
    """Whether what is stored under that name has no ranges: it is small, and any rank may need it."""
    return name.startswith("whole/")


def shared(engine: Any) -> dict[str, torch.Tensor]:
    """What every rank holds whole, flat and by the stored name."""
    held = ((name, parameter) for name, parameter in trained(engine) if not is_partitioned(parameter))
    return {f"weight/{name}": held_weights(parameter).values for name, parameter in held}


def restore(engine: Any, stored: Stored, shapes: Mapping[str, list[int]]) -> None:
    """Gives the engine what was stored, with the `shapes_of` it. Every rank calls it and reads what it `wanted`."""
    for name, whole in shared(engine).items():
        stored.spread(name, whole)
    for name, parameter in trained(engine):
        if is_partitioned(parameter):
            held = held_weights(parameter)
            held.values.copy_(stored.read(f"weight/{name}", held.start, len(held.values)))
            gathered_anew(parameter)
    of_owner: dict[int, list[_Part]] = defaultdict(list)
    for part in _parts(engine):
        part.of(part.owner).copy_(stored.read(f"weight/{part.name}", part.start, part.count))
        of_owner[id(part.owner)].append(part)
    keys = _keys(stored.sizes)
    for parts in of_owner.values():
        state = _restored(parts, keys, stored, shapes)
        if state:
            _states(engine, parts[0].owner)[parts[0].owner] = state


def _keys(names: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """By the parameter's name: what is stored of its optimizer, and whether as a range."""
    found = defaultdict(list)
    for stored in names:
        kind, key, *name = stored.split("/", 2)
        if kind in ("state", "whole"):
            found[name[0]].append((kind, key))
    return found


def _restored(
    parts: list[_Part],
    keys: Mapping[str, list[tuple[str, str]]],
    stored: Stored,
    shapes: Mapping[str, list[int]],
) -> dict[str, torch.Tensor]:
    """The optimizer's memory of one owner."""
    owner, state = parts[0].owner, dict[str, torch.Tensor]()
    for part in parts:
        for kind, key in keys.get(part.name, ()):
            name = f"{kind}/{key}/{part.name}"
            if kind == "state":
                memory = state.setdefault(key, torch.zeros_like(owner, requires_grad=False))
                part.of(memory).copy_(stored.read(name, part.start, part.count))
            elif key not in state:
                whole = stored.read(name, 0, stored.sizes[name]).reshape(shapes.get(name, []))
                state[key] = whole.to(owner.device, copy=True)
    return state


def _parts(engine: Any) -> list[_Part]:
    wrapper = engine.optimizer
    if (flat := getattr(wrapper, "fp32_partitioned_groups_flat", None)) is not None:
        return list(_parts_of_stage_3(engine, flat))
    for name in ("single_partition_of_fp32_groups", "fp32_groups_flat_partition"):
        if (flat := getattr(wrapper, name, None)) is not None:
            return list(_mapped_parts(engine, flat))
    return [_Part(name, one.numel(), 0, one.numel(), one, 0) for name, one in trained(engine)]


def _mapped_parts(engine: Any, flat: list[torch.Tensor]) -> Iterator[_Part]:
    for name, parameter in trained(engine):
        if (mapping := parameter._hp_mapping) is not None:
            here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
            owner = flat[mapping.param_group_index]
            yield _Part(name, parameter.numel(), here.start, here.numel, owner, there.start)


def _parts_of_stage_3(engine: Any, flat: list[torch.Tensor]) -> Iterator[_Part]:
    wrapper = engine.optimizer
    for name, parameter in trained(engine):
        group, offset, _ = wrapper.grad_position[wrapper.get_param_id(parameter)]
        held = held_weights(parameter)
        if len(held.values):
            yield _Part(name, held.size, held.start, len(held.values), flat[group], offset)


def _states(engine: Any, owner: torch.Tensor) -> Any:
    """The memory of the optimizer that has the owner, by owner."""
    first, *others = getattr(engine.basic_optimizer, "parts", (engine.basic_optimizer,))
    for one in others:
        if any(owner is parameter for group in one.param_groups for parameter in group["params"]):
            return one.state
    return first.state


def counters_of(engine: Any) -> dict[str, Any]:
    """Where the schedule is, and the scale of the loss, as JSON has them."""
    schedule = engine.lr_scheduler.state_dict()
    found = {"schedule": {name: schedule[name] for name in ("last_epoch", "_step_count", "_last_lr")}}
    if engine.fp16_enabled():
        scaler = vars(engine.optimizer.loss_scaler)
        names = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")
        found["scale"] = {name: scaler[name] for name in names}
    return found


def restore_counters(engine: Any, counters: Mapping[str, Any]) -> None:
    """The engine goes on with these."""
    schedule = engine.lr_scheduler
    schedule.load_state_dict({**schedule.state_dict(), **counters["schedule"]})
    for group, rate in zip(engine.optimizer.param_groups, counters["schedule"]["_last_lr"], strict=True):
        group["lr"] = rate
    if "scale" in counters:
        vars(engine.optimizer.loss_scaler).update(counters["scale"])
