"""What tasks have in common whose every token is a target: the sum of the tokens' losses, and what follows from it."""

from collections.abc import Mapping
from functools import partial
from math import exp
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kubetune_api.metrics import LOSS
from kubetune_trainer.tasks.base import IGNORED, IN_CHUNKS, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.choice_losses import PLAIN, ChoiceLoss, choice_losses

if TYPE_CHECKING:
    import torch

# exp() of a larger mean loss leaves the range of a double; such a perplexity is infinite for every purpose.
_LARGEST_EXPONENT = 700.0


def token_losses(
    forward: Forward, inputs: Mapping[str, "torch.Tensor"], targets: "torch.Tensor", how: ChoiceLoss = PLAIN
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """The summed loss of each row that is trained on, and its cross-entropy, in nats, in 32-bit numbers, shape [rows].

    `targets` [rows, positions]: what the model is to say at each of its first positions.
    """
    judge = partial(choice_losses, how=how)
    in_chunks = getattr(forward, IN_CHUNKS, None)
    if in_chunks is not None and in_chunks(targets.numel()):
        trained, plain = forward(**inputs, targets=targets, judge=judge)
    else:
        scores = forward(**inputs).logits[:, : targets.shape[1]]
        trained, plain = judge(scores.float().transpose(1, 2), targets)
    return trained.sum(dim=1), plain.sum(dim=1)


def token_tally(losses: Losses, batch: MicroBatch) -> Tally:
    """The loss and the number of tokens that it is of."""
    return {"loss": losses.judged.double().sum(), "targets": (batch.targets != IGNORED).sum()}


def measured_tokens(tally: dict[str, NDArray[np.float64]]) -> Measured:
    """The mean loss per token, in nats, and its exponential."""
    mean = float(tally["loss"] / tally["targets"])
    return Measured({LOSS: mean, "perplexity": perplexity(mean)})


def perplexity(mean_loss: float) -> float:
    """The exponential of the mean cross-entropy per target token, in nats."""
    return exp(mean_loss) if mean_loss < _LARGEST_EXPONENT else float("inf")
