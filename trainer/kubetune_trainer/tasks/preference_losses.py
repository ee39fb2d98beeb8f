"""What two answers come to: DPO (arXiv:2305.18290), IPO (2310.12036), SimPO (2405.14734) and ORPO (2403.07691).

`gained` is always [rows, parts], the log-probability of each answer over all its tokens, less what it was before the
training where the loss compares the two; `tokens` [rows, parts] is how long the answers are.
"""

from typing import TYPE_CHECKING

from kubetune_api.job.task_settings import PreferenceSettings

if TYPE_CHECKING:
    import torch

_NEARLY_SURE = -1e-6
"""The highest mean log-probability whose odds are told from infinite ones in 32 bits."""


def rewards(gained: "torch.Tensor", tokens: "torch.Tensor", settings: PreferenceSettings) -> "torch.Tensor":
    """[rows, parts]: what each answer is worth, as TRL reports it for the same loss."""
    return settings.strength * (_means(gained, tokens) if settings.row.per_token else gained)


def preference_losses(
    gained: "torch.Tensor", tokens: "torch.Tensor", settings: PreferenceSettings, *, smoothing: float = 0.0
) -> "torch.Tensor":
    """[rows]: TRL's `sigmoid`, its `ipo` with the mean over the tokens of each answer, its `simpo` without `cpo_alpha`,
    and LLaMA-Factory's `orpo`, in which each row counts the same."""
    from torch.nn.functional import logsigmoid

    beta, means = settings.strength, _means(gained, tokens)
    if settings.loss == "IPO":
        return (means[:, 0] - means[:, 1] - 1 / (2 * beta)) ** 2
    if settings.loss == "ORPO":
        odds = log_odds(means)
        return -means[:, 0] - beta * logsigmoid(odds[:, 0] - odds[:, 1])
    worth = rewards(gained, tokens, settings)
    margins = worth[:, 0] - worth[:, 1] - (settings.margin if settings.loss == "SimPO" else 0.0)
    return -(1 - smoothing) * logsigmoid(margins) - smoothing * logsigmoid(-margins)


def log_odds(logarithms: "torch.Tensor") -> "torch.Tensor":
    """Of probabilities, p / (1 - p), that are given by their logarithms."""
    import torch

    below_one = logarithms.clamp(max=_NEARLY_SURE)
    return below_one - torch.log(-torch.expm1(below_one))


def _means(gained: "torch.Tensor", tokens: "torch.Tensor") -> "torch.Tensor":
    return gained / tokens.clamp(min=1)
