"""Layers that are computed a second time: the same losses and gradients, from much less that is kept."""

from typing import Any

import pytest
import torch

from kubetune_api.families import FAMILIES
from kubetune_trainer.training.activation_checkpointing import compute_again
from support.autograd import kept_by_autograd
from support.tiny_models import CONFIGS, tiny_model

ROWS = {
    "input_ids": torch.arange(3, 59).reshape(4, 14),
    "attention_mask": (torch.arange(14) < torch.tensor([[14], [9], [5], [14]])).long(),
}


def made(family: str, *, again: bool, dropout: float = 0.0) -> tuple[Any, dict[str, torch.Tensor]]:
    model = tiny_model(family, labels=None if FAMILIES[family].decoder else 3).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    if again:
        compute_again(model)
    both = FAMILIES[family].encoder_decoder is not None
    return model, ROWS | ({"decoder_input_ids": ROWS["input_ids"][:, :9]} if both else {})


def learned(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """A loss, and every gradient of it."""
    torch.manual_seed(7)
    loss = model(**inputs).logits.float().square().sum()
    loss.backward()
    return loss.item(), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_learns_the_same_bit_for_bit_and_keeps_less(family: str) -> None:
    loss, gradients = learned(*made(family, again=False))
    again, others = learned(*made(family, again=True))
    assert again == loss
    assert others.keys() == gradients.keys()
    assert all(torch.equal(others[name], gradients[name]) for name in gradients)
    assert kept_by_autograd(*made(family, again=True)) < 0.6 * kept_by_autograd(*made(family, again=False))


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_dropout_leaves_out_the_same_the_second_time(family: str) -> None:
    loss, gradients = learned(*made(family, again=False, dropout=0.3))
    again, others = learned(*made(family, again=True, dropout=0.3))
    assert again == loss != learned(*made(family, again=True))[0]
    assert all(torch.equal(others[name], gradients[name]) for name in gradients)


def test_frozen_layers_at_the_bottom_keep_nothing() -> None:
    kept = []
    for again in (False, True):
        model, inputs = made("bert", again=again)
        for frozen in (model.base_model.embeddings, *model.base_model.encoder.layer):
            frozen.requires_grad_(False)
        kept.append(kept_by_autograd(model, inputs))
    assert kept[0] == kept[1] < 5000


def test_nothing_is_computed_twice_where_nothing_is_learned() -> None:
    model, inputs = made("llama", again=True)
    calls = []
    model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(**inputs)
    model.eval()(**inputs)
    assert len(calls) == 2
    model.train()(**inputs).logits.sum().backward()
    assert len(calls) == 4
