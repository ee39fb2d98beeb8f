"""The groups of parameters, and what each step of an optimizer does besides."""

from typing import Any

import pytest
import torch
from transformers import Trainer

from kubetune_api.families import FAMILIES
from kubetune_api.job import Training
from kubetune_trainer.training.optimizer import (
    OPTIMIZERS,
    adamw,
    clip_in_each_step,
    parameter_groups,
    shrink_in_each_step,
)
from support.tiny_models import CONFIGS, spec_for, tiny_model


def training(**fields: Any) -> Training:
    return spec_for("CausalLM", training=fields).training


@pytest.mark.parametrize("family", CONFIGS)
def test_weight_decay_spares_what_transformers_trainer_spares(family: str) -> None:
    model = tiny_model(family, labels=3)
    decayed, spared = parameter_groups(model, 0.1)
    names = {id(each): name for name, each in model.named_parameters() if each.requires_grad}
    # They name a parameter that several modules share by each of them.
    theirs = set(names.values()) & set(Trainer.get_decay_parameter_names(None, model))
    assert {names[id(parameter)] for parameter in decayed["params"]} == theirs
    assert {names[id(parameter)] for parameter in spared["params"]} == set(names.values()) - theirs
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_are_in_no_group() -> None:
    model = tiny_model("bert", labels=2)
    model.bert.requires_grad_(False)
    grouped = [parameter for group in parameter_groups(model, 0.1) for parameter in group["params"]]
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in model.classifier.parameters()}


def test_an_empty_group_is_left_out() -> None:
    model = tiny_model("bert", labels=2)
    model.requires_grad_(False)
    model.classifier.bias.requires_grad_(True)
    assert [len(group["params"]) for group in parameter_groups(model, 0.1)] == [1]


def test_adamw_takes_every_setting_of_the_job() -> None:
    settings = {"weightDecay": 0.5, "beta1": 0.7, "beta2": 0.8, "epsilon": 1e-3}
    job = training(learningRate=0.25, optimizer=settings)
    for group in adamw(tiny_model("llama", labels=None), job).param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.25, (0.7, 0.8), 1e-3)


@pytest.mark.parametrize(
    ("max_norm", "step"),
    [
        pytest.param(1.0, [0.6, 0.8], id="scaled down to the norm"),
        pytest.param(10.0, [3.0, 4.0], id="below the norm"),
        pytest.param(0.0, [3.0, 4.0], id="turned off"),
    ],
)
def test_gradients_are_clipped_over_all_parameters_and_their_norm_is_kept(max_norm: float, step: list[float]) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer: Any = torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=1.0)
    clip_in_each_step(optimizer, max_norm)
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    optimizer.step()
    assert [-parameter.item() for parameter in parameters] == pytest.approx([*step, 0.0], abs=1e-5)
    assert float(optimizer._global_grad_norm) == pytest.approx(5.0)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_a_step_whose_gradients_are_not_finite_changes_nothing(bad: float, max_norm: float) -> None:
    """T17."""
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer: Any = torch.optim.AdamW(parameters, lr=1.0, weight_decay=0.5, fused=True)
    clip_in_each_step(optimizer, max_norm)
    parameters[0].grad, parameters[1].grad = torch.tensor([1.0, bad]), torch.ones(2)
    optimizer.step()
    assert all(torch.equal(parameter, torch.ones(2)) for parameter in parameters)
    assert not torch.isfinite(optimizer._global_grad_norm)


def test_the_l1_penalty_brings_small_weights_to_0_and_spares_what_is_exempt() -> None:
    penalized, exempt, still = (torch.nn.Parameter(torch.tensor([0.04, -0.04, 1.0, -1.0])) for _ in range(3))
    optimizer = torch.optim.SGD(
        [{"params": [penalized, still], "is_penalized": True}, {"params": [exempt], "is_penalized": False}], lr=0.5
    )
    shrink_in_each_step(optimizer, 0.1)
    penalized.grad, exempt.grad = torch.zeros(4), torch.zeros(4)
    optimizer.step()
    assert penalized.tolist() == pytest.approx([0.0, 0.0, 0.95, -0.95])
    assert (penalized == 0).sum() == 2
    assert torch.equal(exempt, still)  # without a gradient it was not in the step


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_biases_and_norms_are_not_penalized_by_any_optimizer(family: str, name: str) -> None:
    model = tiny_model(family, labels=3)
    optimizer = OPTIMIZERS[name](model, training(optimizer={"type": name}, learningRate=0.1).model_copy())
    names = {id(each): key for key, each in model.named_parameters() if each.requires_grad}
    penalized = {
        names[id(each)] for group in optimizer.param_groups if group["is_penalized"] for each in group["params"]
    }
    assert penalized == set(names.values()) & set(Trainer.get_decay_parameter_names(None, model))


@pytest.mark.parametrize("family", CONFIGS)
def test_each_layer_further_down_has_a_lower_rate(family: str) -> None:
    model = tiny_model(family, labels=3)
    optimizer = adamw(model, training(learningRate=0.8, layerwiseDecay=0.5))
    rates = {id(each): group["lr"] for group in optimizer.param_groups for each in group["params"]}
    row = FAMILIES[family]
    base = model.base_model
    layers = base.get_submodule(row.layers)
    assert {rates[id(each)] for each in layers[-1].parameters()} == {0.4}
    assert {rates[id(each)] for each in layers[0].parameters()} == {0.8 * 0.5 ** len(layers)}
    embedded = [each for name in row.embeddings if hasattr(base, name) for each in getattr(base, name).parameters()]
    assert {rates[id(each)] for each in embedded} == {0.8 * 0.5 ** (len(layers) + 1)}
    if row.encoder_decoder is not None:
        decoder = base.get_submodule(row.encoder_decoder.layers)
        assert {rates[id(each)] for each in decoder[-1].parameters()} == {0.4}
        assert {rates[id(each)] for each in decoder[0].parameters()} == {0.8 * 0.5 ** len(decoder)}
    below = {id(each) for each in base.parameters()}
    head = [each for each in model.parameters() if id(each) not in below]
    # What an encoder with a decoder writes with is its embeddings.
    assert {rates[id(each)] for each in head} == ({0.8} if row.encoder_decoder is None else set())
    assert optimizer.param_groups[0]["lr"] == max(rates.values())
    assert len(rates) == sum(each.requires_grad for each in model.parameters())
