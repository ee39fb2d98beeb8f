"""What tasks have in common whose every token is a target: the sum of the tokens' losses, and what follows from it."""

from math import exp

import numpy as np
from numpy.typing import NDArray

from kubetune_api.metrics import LOSS
from kubetune_trainer.tasks.base import IGNORED, Losses, Measured, MicroBatch, Tally

# exp() of a larger mean loss leaves the range of a double; such a perplexity is infinite for every purpose.
_LARGEST_EXPONENT = 700.0


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
