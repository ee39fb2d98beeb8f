"""The loss of a choice among labels or tokens, as the manifest wants it, and as an evaluation counts it.

An evaluation always counts the plain cross-entropy: runs with other weights, or with smoothed labels, stay comparable,
and a perplexity keeps its meaning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The target of a position that no loss is counted for; torch's cross-entropy skips it."""
_LEAST_MISSED = 1e-7
"""Below, a power of the probability that is missed has no gradient that a number could hold."""


@dataclass(frozen=True)
class ChoiceLoss:
    """What is changed of the cross-entropy."""

    smoothing: float = 0.0
    """The share of a target that is spread over all choices."""
    gamma: float | None = None
    """Of the focal loss; None: the cross-entropy."""
    weights: tuple[float, ...] | None = None
    """Of each choice; None: all count the same."""


PLAIN = ChoiceLoss()


def choice_losses(
    scores: "torch.Tensor", targets: "torch.Tensor", how: ChoiceLoss
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """The loss that is trained on and the plain cross-entropy of each position, both [rows, …], in nats.

    `scores` [rows, choices, …] in 32-bit numbers, `targets` [rows, …]; 0 where the target is `IGNORED`.
    """
    import torch
    from torch.nn.functional import cross_entropy

    plain = cross_entropy(scores, targets, ignore_index=IGNORED, reduction="none")
    if how == PLAIN:
        return plain, plain
    weight = None if how.weights is None else torch.tensor(how.weights, dtype=scores.dtype, device=scores.device)
    if how.gamma is not None:
        missed = (-torch.expm1(-plain)).clamp(min=_LEAST_MISSED)
        of_each = 1 if weight is None else weight[targets.clamp(min=0)]
        return missed**how.gamma * plain * of_each, plain
    if weight is not None:
        smoothing = how.smoothing
        weighted = cross_entropy(
            scores, targets, weight=weight, ignore_index=IGNORED, reduction="none", label_smoothing=smoothing
        )
        return weighted, plain
    # As torch and transformers' LabelSmoother have it, without another copy of the scores over a vocabulary.
    spread = (scores.logsumexp(dim=1) - scores.mean(dim=1)) * (targets != IGNORED)
    return (1 - how.smoothing) * plain + how.smoothing * spread, plain


def balanced(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Weights with which all choices count the same, from how often each is taken; scikit-learn's `balanced`."""
    return tuple((counts.sum() / (len(counts) * counts)).tolist())


def on_average_one(weights: Sequence[float], counts: NDArray[np.int64]) -> tuple[float, ...]:
    """The weights, such that their mean over the rows is 1: a learning rate keeps its meaning."""
    mean = float(np.dot(weights, counts) / counts.sum())
    return tuple(weight / mean for weight in weights)
