"""The loss of a row against its definition, written out."""

from collections.abc import Callable
from functools import partial
from math import exp, log, nan
from types import SimpleNamespace

import pytest
import torch

from kubetune_api.job import RegressionSettings
from kubetune_trainer.tasks.base import IGNORED
from kubetune_trainer.tasks.choice_losses import PLAIN, choice_losses
from kubetune_trainer.tasks.regression import value_losses
from kubetune_trainer.tasks.token_losses import token_losses

REGRESSIONS = {loss: RegressionSettings.model_validate({"loss": loss}) for loss in ("MSE", "MAE", "Huber")}


def plain_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return choice_losses(logits.float(), targets, PLAIN)[0]


def next_token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return token_losses(lambda: SimpleNamespace(logits=logits), {}, targets[:, 1:])[0]


def nats(logits: list[float], target: int) -> float:
    """The cross-entropy of one prediction."""
    return log(sum(exp(value) for value in logits)) - logits[target]


def test_classification_is_the_cross_entropy_of_each_row() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    targets = [0, 2, 1, 1, 0]
    expected = [nats(row, target) for row, target in zip(logits.tolist(), targets, strict=True)]
    assert plain_losses(logits, torch.tensor(targets)).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_language_model_predicts_the_next_token_and_counts_only_the_targets() -> None:
    logits = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[IGNORED, IGNORED, 5, 1], [IGNORED, 3, IGNORED, IGNORED]])
    values = logits.tolist()
    expected = [nats(values[0][1], 5) + nats(values[0][2], 1), nats(values[1][0], 3)]
    assert next_token_losses(logits, targets).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "of_one"),
    [
        pytest.param(REGRESSIONS["MSE"], lambda error: error**2, id="MSE"),
        pytest.param(REGRESSIONS["MAE"], abs, id="MAE"),
        pytest.param(
            REGRESSIONS["Huber"], lambda error: error**2 / 2 if abs(error) <= 1 else abs(error) - 0.5, id="Huber"
        ),
        pytest.param(
            RegressionSettings(loss="Huber", huber_delta=3.0),
            lambda error: error**2 / 2 if abs(error) <= 3 else 3 * (abs(error) - 1.5),
            id="Huber with a delta",
        ),
    ],
)
def test_a_regression_adds_the_loss_of_each_number_of_a_row(
    settings: RegressionSettings, of_one: Callable[[float], float]
) -> None:
    said, true = [[0.5, 4.0], [-5.0, 1.0]], [[0.0, 2.0], [1.0, 1.0]]
    expected = [sum(of_one(a - b) for a, b in zip(*row, strict=True)) for row in zip(said, true, strict=True)]
    assert value_losses(torch.tensor(said), torch.tensor(true), settings).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("row_losses", "logits", "targets"),
    [
        pytest.param(plain_losses, torch.ones(1, 3), torch.tensor([IGNORED]), id="classification"),
        *(
            pytest.param(partial(value_losses, settings=settings), torch.ones(1, 2), torch.full((1, 2), nan), id=loss)
            for loss, settings in REGRESSIONS.items()
        ),
        pytest.param(next_token_losses, torch.ones(1, 4, 3), torch.full((1, 4), IGNORED), id="language model"),
    ],
)
def test_a_row_without_targets_has_no_loss_and_no_gradient(
    row_losses: Callable[..., torch.Tensor], logits: torch.Tensor, targets: torch.Tensor
) -> None:
    logits = logits.clone().requires_grad_()
    loss = row_losses(logits, targets).sum()
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_bfloat16_logits_are_judged_in_32_bits() -> None:
    logits = torch.tensor([[3.0, 1.0, -2.0]], dtype=torch.bfloat16)
    loss = plain_losses(logits, torch.tensor([1]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(nats([3.0, 1.0, -2.0], 1), abs=1e-6)
