"""The states of a rank's generators of random numbers, as a checkpoint has them."""

import torch
import torch.distributed as dist

from kubetune_trainer.checkpoint.shards import Shards
from kubetune_trainer.training.engine_state import Range

_KINDS = ("cpu", "cuda")


def random_states() -> dict[str, Range]:
    """Those of this rank, by their names."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {_name(kind): Range(0, state, len(state)) for kind, state in states.items()}


def names_of_random_states() -> set[str]:
    """What those of this rank may be called."""
    return {_name(kind) for kind in _KINDS}


def restore_random_states(shards: Shards) -> None:
    """Gives this rank those that it had."""
    torch.set_rng_state(shards.read(_name("cpu")))
    if torch.cuda.is_available() and _name("cuda") in shards.sizes:
        torch.cuda.set_rng_state(shards.read(_name("cuda")))


def _name(kind: str) -> str:
    return f"random/{kind}/{dist.get_rank()}"
