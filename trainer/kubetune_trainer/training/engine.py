"""A DeepSpeed engine for a model, and the whole model out of it again."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from kubetune_api.job import Training
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device, choose_for_deepspeed
from kubetune_trainer.training.optimizer import adamw, clip_in_each_step, learning_rate_schedule
from kubetune_trainer.training.zero import deepspeed_config


def build_engine(model: nn.Module, training: Training, plan: BatchPlan, *, stage: int, device: Device) -> Any:
    """The engine that trains `model`. torch.distributed must be up: the engine joins the group that is there."""
    choose_for_deepspeed(device)
    import deepspeed

    # DeepSpeed would compile a shared-memory all-reduce at the first start: it needs a C++ compiler on every node, a
    # process killed meanwhile leaves a lock on which all later ones wait for ever, and gloo does the same work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=device.backend)
    optimizer, config = (
        adamw(model, training),
        deepspeed_config(
            plan,
            stage=stage,
            bf16=device.bf16(training.precision),
            max_gradient_norm=training.max_gradient_norm,
            on_gpu=device.kind == "cuda",
        ),
    )
    if config["zero_optimization"]["stage"] == 0:
        clip_in_each_step(optimizer, training.max_gradient_norm)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        lr_scheduler=lambda optimizer: learning_rate_schedule(optimizer, training, plan.total_steps),
        config=config,
    )
    return engine


def whole_state(engine: Any) -> dict[str, torch.Tensor]:
    """All weights by name, on the CPU of rank 0; empty on the others. Every rank must call it.

    Tied weights are one tensor under several names, so that they are written once.
    """
    import deepspeed

    first = dist.get_rank() == 0
    state: dict[str, torch.Tensor] = {}
    copies: dict[int, torch.Tensor] = {}
    for name, tensor in engine.module.state_dict(keep_vars=True).items():
        # Under ZeRO-3 each rank holds a slice; one tensor is put together at a time, so that no rank needs room for
        # the whole model on its accelerator.
        with deepspeed.zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
            if first:
                if id(tensor) not in copies:
                    copies[id(tensor)] = tensor.detach().cpu().clone()
                state[name] = copies[id(tensor)]
    return state
