"""NEFTune: noise on the embeddings while a model trains (Jain et al. 2023, arXiv:2310.05914)."""

from typing import Any

import torch
from torch import nn

from kubetune_trainer.training.joined import Joined


def add_noise(model: Any, alpha: float, joined: Joined | None = None) -> None:
    """Makes the model add uniform noise to its embeddings, of at most `alpha` over the root of a row's numbers: of its
    own where rows are joined, else of those of the longest in the batch. Only in training mode, and with random numbers
    of each rank's own, as dropout."""

    def noisy(module: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return output
        lengths = None if joined is None else joined.lengths
        longest = output.shape[1] if lengths is None else lengths[:, None]
        return output + torch.empty_like(output).uniform_(-alpha, alpha) / (longest * output.shape[2]) ** 0.5

    # Each stack of an encoder-decoder looks its tokens up in a module of its own; the one they share is never called.
    both = model.config.is_encoder_decoder
    for stack in (model.get_encoder(), model.get_decoder()) if both else (model,):
        stack.get_input_embeddings().register_forward_hook(noisy)
