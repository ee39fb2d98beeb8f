"""What an evaluation needs of a training, in one process: a group of one rank, an engine of nothing but its model, and
a tokenizer that tells tokens as numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from support.tiny_models import PAD


@contextmanager
def group_of_one() -> Iterator[None]:
    """This process is its only rank, as long as the block lasts."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        dist.destroy_process_group()


class Engine:
    """A model that nobody trains."""

    device = torch.device("cpu")

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, **inputs: Any) -> Any:
        return self.module(**inputs)

    def eval(self) -> None: ...

    def train(self) -> None: ...


def trained_engine(module: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    """One that is trained, with what a checkpoint looks at, as an engine at stage 0 has it."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    return SimpleNamespace(
        module=module,
        device=torch.device("cpu"),
        optimizer=optimizer,
        basic_optimizer=optimizer,
        lr_scheduler=schedule,
        zero_optimization=lambda: False,
        fp16_enabled=lambda: False,
    )


class Numbers:
    """Tokens are told as numbers."""

    pad_token_id = PAD

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
        return " ".join(map(str, tokens))
