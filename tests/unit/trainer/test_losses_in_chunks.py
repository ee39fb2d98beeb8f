"""Losses over a vocabulary, of some tokens at a time: those of all at once, from much less that is kept."""

from typing import Any

import pytest
import torch

from kubetune_api.families import FAMILIES
from kubetune_trainer.tasks.base import IGNORED
from kubetune_trainer.tasks.choice_losses import PLAIN, ChoiceLoss
from kubetune_trainer.tasks.token_losses import token_losses
from kubetune_trainer.training.in_chunks import judge_in_chunks
from support.autograd import kept_by_autograd
from support.tiny_models import CONFIGS, VOCABULARY, tiny_model

WRITERS = [family for family in CONFIGS if FAMILIES[family].generates]
INPUTS = {
    "input_ids": torch.arange(3, 59).reshape(4, 14),
    "attention_mask": (torch.arange(14) < torch.tensor([[14], [9], [5], [14]])).long(),
}
TARGETS = torch.where(torch.arange(13) % 3 < 2, INPUTS["input_ids"][:, 1:], IGNORED)
A_FEW = 5 * VOCABULARY
"""Scores: those of five tokens."""


def made(family: str, at_a_time: int | None, *, scaled: bool = False) -> tuple[Any, dict[str, Any]]:
    model = tiny_model(family, labels=None).train()
    if scaled:
        model.config.scale_decoder_outputs = True
    if getattr(model, "final_logits_bias", None) is not None:
        model.final_logits_bias.normal_()
    if at_a_time is not None:
        judge_in_chunks(model, at_a_time)
    both = {"decoder_input_ids": INPUTS["input_ids"], "use_cache": False}
    return model, INPUTS | (both if FAMILIES[family].encoder_decoder else {})


def learned(model: Any, inputs: dict[str, Any], how: ChoiceLoss) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The losses of rows, trained on and plain, and every gradient of the former."""
    trained, plain = token_losses(model, inputs, TARGETS, how)
    trained.sum().backward()
    return torch.stack([trained, plain]).detach(), {
        name: each.grad for name, each in model.named_parameters() if each.grad is not None
    }


@pytest.mark.parametrize("how", [PLAIN, ChoiceLoss(smoothing=0.1)], ids=["plain", "smoothed"])
@pytest.mark.parametrize(
    ("family", "scaled"), [*((family, False) for family in WRITERS), ("t5", True)], ids=lambda value: str(value)
)
def test_losses_and_gradients_are_those_of_all_at_once(family: str, scaled: bool, how: ChoiceLoss) -> None:
    losses, gradients = learned(*made(family, None, scaled=scaled), how)
    found, others = learned(*made(family, A_FEW, scaled=scaled), how)
    assert torch.allclose(found, losses, rtol=1e-6)
    assert others.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert (others[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max() + 1e-7, name


class Asked(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        return token_losses(self.model, inputs, TARGETS)


def test_the_scores_are_not_kept() -> None:
    (whole, inputs), (parts, _) = made("llama", None), made("llama", A_FEW)
    layers = kept_by_autograd(whole.base_model, inputs)
    scores = 4 * TARGETS.numel() * VOCABULARY
    assert kept_by_autograd(Asked(whole), inputs) - layers > scores
    assert kept_by_autograd(Asked(parts), inputs) - layers < scores / 4


def test_a_batch_without_targets_has_no_loss_and_gradients_of_zero() -> None:
    """Other ranks wait for those of every parameter."""
    model, inputs = made("llama", 1)
    trained, _ = token_losses(model, inputs, torch.full_like(TARGETS, IGNORED))
    trained.sum().backward()
    assert trained.tolist() == [0, 0, 0, 0]
    assert all(each.grad is not None and not each.grad.any() for each in model.parameters())


def test_few_scores_are_judged_at_once_bit_for_bit_as_without_chunks() -> None:
    losses, gradients = learned(*made("llama", None), PLAIN)
    found, others = learned(*made("llama", TARGETS.numel() * VOCABULARY), PLAIN)
    assert torch.equal(found, losses)
    assert all(torch.equal(others[name], gradients[name]) for name in gradients)


def test_where_asked_for_even_few_scores_are_those_of_targets_alone() -> None:
    losses, gradients = learned(*made("llama", None), PLAIN)
    model, inputs = made("llama", None)
    judge_in_chunks(model, always=True)
    scored: list[int] = []
    model.lm_head.register_forward_pre_hook(lambda _, given: scored.append(len(given[0])))
    found, others = learned(model, inputs, PLAIN)
    assert scored == [int((TARGETS != IGNORED).sum())]
    assert torch.allclose(found, losses, rtol=1e-6)
    for name, gradient in gradients.items():
        assert (others[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max() + 1e-7, name


def test_an_evaluation_judges_in_chunks_as_well() -> None:
    losses, _ = learned(*made("llama", None), PLAIN)
    model, inputs = made("llama", A_FEW)
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda _, __, found: seen.append(found[0].ndim))
    with torch.no_grad():
        trained, _ = token_losses(model.eval(), inputs, TARGETS)
    assert torch.allclose(trained, losses[0], rtol=1e-6)
    assert seen == [1], "one call of the output layer, which answers with losses"


def test_a_model_with_chunks_writes_as_before() -> None:
    model, _ = made("llama", A_FEW)
    plain, _ = made("llama", None)
    asked = {"input_ids": INPUTS["input_ids"], "max_new_tokens": 3, "do_sample": False}
    assert torch.equal(model.eval().generate(**asked), plain.eval().generate(**asked))
