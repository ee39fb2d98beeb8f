"""Weights in the numbers of the training and, at ZeRO stage 3, in the shards of their ranks, before there is an engine.

DeepSpeed by itself would take the whole model to each accelerator, and send every weight from the first rank to the
others, before it cuts any. But each rank has the files: it copies its own parts from their pages, one weight after the
other, so that neither an accelerator nor the memory of a process holds the model.
"""

from typing import Any

import torch
from torch import nn

from kubetune_trainer.methods.base import STORED_AS
from kubetune_trainer.resolved import ResolvedTraining


def place(model: nn.Module, resolved: ResolvedTraining, config: dict[str, Any]) -> None:
    """Gives each weight its numbers and its place, in place; `config` is DeepSpeed's."""
    dtype = STORED_AS[resolved.precision]
    if resolved.stage == 3:
        _into_shards(model, dtype, config)
    elif resolved.precision == "FP32":
        # In 16 bits DeepSpeed does it.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)


def _into_shards(model: nn.Module, dtype: torch.dtype, config: dict[str, Any]) -> None:
    import deepspeed

    # With a module it sets itself up as for a model that is there; this one has no weights to send.
    zero = deepspeed.zero.Init(module=nn.Module(), config_dict_or_path=config)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        zero._convert_to_deepspeed_param(parameter)
        cut: Any = parameter
        cut.partition()
        share = cut.ds_tensor
        # The last ranks' shares end behind the weight.
        share[max(0, cut.ds_numel - cut.ds_zero_partition_rank * share.ds_numel) :].zero_()
        # Where DeepSpeed leaves what it has cut itself.
        parameter.data = parameter.data.to(zero.local_device)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(zero.local_device)
