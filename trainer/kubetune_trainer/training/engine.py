"""A DeepSpeed engine for a model."""

from typing import Any

import torch
from torch import nn

from kubetune_api.job import Training
from kubetune_planner.logits import AT_A_TIME
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.training.activation_checkpointing import compute_again
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device, choose_for_deepspeed
from kubetune_trainer.training.groups import wait_patiently
from kubetune_trainer.training.in_chunks import judge_in_chunks
from kubetune_trainer.training.joined import join_rows
from kubetune_trainer.training.noise import add_noise
from kubetune_trainer.training.optimizer import OPTIMIZERS, clip_in_each_step, shrink_in_each_step
from kubetune_trainer.training.placing import place
from kubetune_trainer.training.reduction import reduce_without_copies
from kubetune_trainer.training.schedule import learning_rate_schedule
from kubetune_trainer.training.zero import deepspeed_config


def build_engine(
    model: Any,
    training: Training,
    plan: BatchPlan,
    resolved: ResolvedTraining,
    device: Device,
    *,
    logits_at_a_time: int = AT_A_TIME,
) -> Any:
    """The engine that trains `model`. torch.distributed must be up: the engine joins the group that is there."""
    choose_for_deepspeed(device)
    import deepspeed

    # DeepSpeed would compile a shared-memory all-reduce at the first start: it needs a C++ compiler on every node, a
    # process killed meanwhile leaves a lock on which all later ones wait for ever, and gloo does the same work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=device.backend)
    _prepare(model, training, resolved, logits_at_a_time)
    config = deepspeed_config(
        plan,
        stage=resolved.stage,
        precision=resolved.precision,
        max_gradient_norm=training.max_gradient_norm,
        offload=resolved.offload,
        on_gpu=device.kind == "cuda",
        trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    )
    optimizer = _optimizer(model, training, resolved.stage)
    place(model, resolved, config)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        lr_scheduler=lambda optimizer: learning_rate_schedule(optimizer, training, plan.total_steps),
        config=config,
    )
    wait_patiently()
    reduce_without_copies(engine, plan.workers, device)
    return engine


def _prepare(model: Any, training: Training, resolved: ResolvedTraining, logits_at_a_time: int) -> None:
    """What the model does otherwise than transformers has it."""
    joined = join_rows(model)
    if model.get_output_embeddings() is not None:
        judge_in_chunks(model, logits_at_a_time, always=joined is not None)
    if resolved.activation_checkpointing == "Full":
        compute_again(model)
    if training.neftune_alpha:
        add_noise(model, training.neftune_alpha, joined)


def _optimizer(model: nn.Module, training: Training, stage: int) -> torch.optim.Optimizer:
    """That of the job, with what each of its steps does besides."""
    optimizer = OPTIMIZERS[training.optimizer.type](model, training)
    if stage == 0:
        clip_in_each_step(optimizer, training.max_gradient_norm)
    if training.l1:
        shrink_in_each_step(optimizer, training.l1)
    return optimizer
