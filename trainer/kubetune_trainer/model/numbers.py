"""The numbers that pretrained weights are loaded as.

transformers converts weights to the type that it builds the model in, and draws new ones in that type too. Here that is
always 32 bits, so that new weights are drawn alike in every precision. The others may stay as the files have them:
those are mapped into memory, and the workers of a node share the pages.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel


@contextmanager
def weights_as(dtype: torch.dtype | None) -> Iterator[None]:
    """Within it, transformers loads weights as `dtype`, whatever the model's own; None: as the files have them."""
    usual = PreTrainedModel._get_dtype_plan
    PreTrainedModel._get_dtype_plan = lambda *_: {"*": dtype}
    try:
        yield
    finally:
        PreTrainedModel._get_dtype_plan = usual


def buffers_in_32_bits(model: nn.Module) -> None:
    """What a model stores and never trains is in 32 bits in every precision."""
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.data.float()
