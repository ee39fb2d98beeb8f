"""Cross-entropy, summed: the mean is taken over the targets of the global batch, which no single rank sees."""

import torch
from torch.nn.functional import cross_entropy

from kubetune_trainer.training.collate import IGNORED


def row_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The summed cross-entropy of each row, in nats, in 32-bit numbers, shape [rows].

    Classification: `logits` [rows, classes], `targets` [rows]. Language model: `logits` [rows, length, vocabulary],
    `targets` [rows, length], where the logits at position t predict the token at t + 1.
    """
    if logits.ndim == 2:
        return cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="none")
    predicting, predicted = logits[:, :-1].float(), targets[:, 1:]
    losses = cross_entropy(predicting.transpose(1, 2), predicted, ignore_index=IGNORED, reduction="none")
    return losses.sum(dim=1)
