"""Weights of labels, smoothed labels and the focal loss, against torch, transformers and scikit-learn."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy
from transformers.trainer_pt_utils import LabelSmoother

from kubetune_trainer.tasks.base import IGNORED, MicroBatch
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.tasks.choice_losses import PLAIN, ChoiceLoss, balanced, choice_losses, on_average_one
from kubetune_trainer.tasks.classification import Classification, Labels
from kubetune_trainer.tasks.tagging import Tagging, Tags

SMOOTH = ChoiceLoss(smoothing=0.2)
FOCAL = ChoiceLoss(gamma=2.0, weights=(1.0, 2.0, 0.5))
WEIGHTED = ChoiceLoss(smoothing=0.1, weights=(0.5, 3.0, 1.0))


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", [PLAIN, SMOOTH, WEIGHTED, FOCAL], ids=["plain", "smoothed", "weighted", "focal"])
@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        pytest.param(torch.ones(1, 3), torch.tensor([IGNORED]), id="classification"),
        pytest.param(torch.ones(1, 3, 4), torch.full((1, 4), IGNORED), id="words"),
    ],
)
def test_a_row_without_targets_has_no_loss_and_no_gradient(
    logits: torch.Tensor, targets: torch.Tensor, how: ChoiceLoss
) -> None:
    logits = logits.clone().requires_grad_()
    trained, plain = choice_losses(logits, targets, how)
    trained.sum().backward()
    assert trained.sum().item() == plain.sum().item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def answering(logits: torch.Tensor) -> Any:
    return lambda **_: SimpleNamespace(logits=logits)


def batch_of(targets: torch.Tensor) -> MicroBatch:
    return MicroBatch({}, targets, np.arange(len(targets)))


LABELS, WORDS = ("a", "b", "c"), torch.tensor([[1, IGNORED, 2, 0], [IGNORED, 0, 0, IGNORED]])


@pytest.mark.parametrize(
    ("task", "space", "targets", "shifted"),
    [
        pytest.param(Classification(), Labels(LABELS, SMOOTH), torch.tensor([2, 0]), False, id="classification"),
        pytest.param(Tagging(), Tags(LABELS, SMOOTH), WORDS, False, id="words"),
        pytest.param(CausalLanguageModel(), Vocabulary(loss=SMOOTH), WORDS, True, id="language model"),
    ],
)
def test_smoothed_labels_are_those_of_transformers_and_the_evaluation_is_without(
    task: Any, space: Any, targets: torch.Tensor, shifted: bool
) -> None:
    logits = random(*targets.shape, 3).requires_grad_()
    losses = task.losses(answering(logits), batch_of(targets), space)
    count = (targets[:, 1:] if shifted else targets).ne(IGNORED).sum()
    theirs = LabelSmoother(epsilon=0.2)({"logits": logits}, targets, shift_labels=shifted)
    (mine,) = torch.autograd.grad(losses.rows.sum() / count, logits, retain_graph=True)
    assert (losses.rows.sum() / count).item() == pytest.approx(theirs.item(), abs=1e-6)
    assert mine == pytest.approx(torch.autograd.grad(theirs, logits)[0], abs=1e-6)
    plain = task.losses(answering(logits), batch_of(targets), type(space)(labels=space.labels)).rows
    assert losses.judged.tolist() == pytest.approx(plain.tolist(), abs=1e-6)
    assert task.tally(losses, batch_of(targets), space)["loss"].item() == pytest.approx(plain.sum().item(), abs=1e-6)


def test_weights_and_smoothing_together_are_those_of_torch() -> None:
    logits, targets = random(7, 3), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    trained, plain = choice_losses(logits, targets, WEIGHTED)
    weight = torch.tensor(WEIGHTED.weights)
    theirs = cross_entropy(logits, targets, weight=weight, label_smoothing=0.1, reduction="none")
    assert trained.tolist() == pytest.approx(theirs.tolist(), abs=1e-6)
    assert plain.tolist() == pytest.approx(cross_entropy(logits, targets, reduction="none").tolist(), abs=1e-6)


def test_weights_leave_the_mean_over_the_training_rows_that_torch_has() -> None:
    logits, targets = random(8, 3), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    counts = np.bincount(targets)
    for given in ((2.0, 5.0, 1.0), balanced(counts)):
        weights = on_average_one(given, counts)
        trained, _ = choice_losses(logits, targets, ChoiceLoss(weights=weights))
        theirs = cross_entropy(logits, targets, weight=torch.tensor(given))
        assert trained.mean().item() == pytest.approx(theirs.item(), abs=1e-6)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    rows = np.array([0, 0, 0, 1, 1, 2, 0, 0])
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=rows)
    assert balanced(np.bincount(rows)) == pytest.approx(theirs.tolist())


def test_the_focal_loss_counts_less_what_is_known() -> None:
    logits, targets = random(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    trained, plain = choice_losses(logits, targets, FOCAL)
    right = logits.softmax(-1).gather(1, targets[:, None])[:, 0]
    expected = (1 - right) ** 2 * -right.log() * torch.tensor(FOCAL.weights)[targets]
    assert trained.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert plain.tolist() == pytest.approx((-right.log()).tolist(), abs=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_gradient_of_the_focal_loss_is_a_number_where_the_model_is_sure(gamma: float) -> None:
    logits = torch.tensor([[80.0, 0.0, 0.0], [0.0, 80.0, 0.0]], requires_grad=True)
    choice_losses(logits, torch.tensor([0, 0]), ChoiceLoss(gamma=gamma))[0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
