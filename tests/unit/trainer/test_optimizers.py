"""Each optimizer, held against its paper's formula, and the bytes that it keeps against the planner's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kubetune_api.families import FAMILIES
from kubetune_api.job import Training
from kubetune_planner.optimizers import STATE_BYTES
from kubetune_trainer.methods.rounding import hidden_by_rounding
from kubetune_trainer.training.muon import Both, hidden_matrices
from kubetune_trainer.training.optimizer import OPTIMIZERS
from kubetune_trainer.training.schedule import sum_of_rates
from support.tiny_models import CONFIGS, spec_for, tiny_model

RATE = 0.25
_INNER = ("layer", ".h.", "project", "mapping", "pooler")


def training(optimizer: str, **settings: float) -> Training:
    fields = {"learningRate": RATE, "optimizer": {"type": optimizer, **settings}}
    return spec_for("CausalLM", training=fields).resolved.training


class Layers(nn.Module):
    """An embedding, two hidden layers with a norm between them, and a head."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.Embedding(8, width)
        self.first, self.norm, self.second = nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, width)
        self.lm_head = nn.Linear(width, 8)


def gradients(shape: tuple[int, ...], steps: int) -> Iterator[torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    return (torch.randn(shape, generator=chance) for _ in range(steps))


def after(optimizer: str, steps: int, **settings: float) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """A hidden matrix before and after some steps of an optimizer, and its gradients."""
    model = Layers()
    weight = model.second.weight
    before = weight.detach().numpy().copy()
    stepping = OPTIMIZERS[optimizer](model, training(optimizer, **settings))
    seen = []
    for gradient in gradients(tuple(weight.shape), steps):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        weight.grad = gradient.clone()
        seen.append(gradient.numpy())
        stepping.step()
    return before, weight.detach().numpy(), seen


def test_lion_is_algorithm_2_of_its_paper() -> None:
    weight, found, seen = after("Lion", 3, beta1=0.8, beta2=0.95, weightDecay=0.1)
    mean = np.zeros_like(weight)
    for gradient in seen:
        direction = np.sign(0.8 * mean + 0.2 * gradient)
        mean = 0.95 * mean + 0.05 * gradient
        weight = weight - RATE * (direction + 0.1 * weight)
    assert found == pytest.approx(weight, abs=1e-6)


def test_sgd_keeps_a_running_sum_and_adds_the_decay_to_the_gradient() -> None:
    weight, found, seen = after("SGD", 3, momentum=0.8, weightDecay=0.1)
    running = np.zeros_like(weight)
    for gradient in seen:
        running = 0.8 * running + gradient + 0.1 * weight
        weight = weight - RATE * running
    assert found == pytest.approx(weight, abs=1e-6)


@pytest.mark.parametrize(("optimizer", "is_coupled"), [("Adam", True), ("AdamW", False)])
def test_adam_adds_the_decay_to_the_gradient_and_adamw_takes_it_off_the_weight(
    optimizer: str, is_coupled: bool
) -> None:
    weight, found, seen = after(optimizer, 3, beta1=0.8, beta2=0.95, epsilon=1e-3, weightDecay=0.1)
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step, raw in enumerate(seen, 1):
        gradient = raw + 0.1 * weight if is_coupled else raw
        weight = weight if is_coupled else weight * (1 - RATE * 0.1)
        mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient**2
        weight = weight - RATE * (mean / (1 - 0.8**step)) / (np.sqrt(square / (1 - 0.95**step)) + 1e-3)
    assert found == pytest.approx(weight, abs=1e-5)


def test_adafactor_keeps_a_row_and_a_column_and_scales_by_the_weights() -> None:
    weight, found, (gradient,) = after("Adafactor", 1, weightDecay=0.1)
    size = RATE * max(1e-3, np.sqrt(np.mean(weight**2)))
    rows, columns = np.mean(gradient**2, axis=1), np.mean(gradient**2, axis=0)
    update = gradient / np.sqrt(np.outer(rows, columns) / np.mean(rows))
    update = update / max(1.0, np.sqrt(np.mean(update**2)))
    assert found == pytest.approx(weight * (1 - RATE * 0.1) - size * update, abs=1e-5)


def test_muon_makes_a_step_orthogonal_and_as_large_as_adamws() -> None:
    weight, found, _ = after("Muon", 1, weightDecay=0.1)
    step = (weight * (1 - RATE * 0.1) - found) / (RATE * 0.2 * np.sqrt(4))
    singular = np.linalg.svd(step, compute_uv=False)
    # Five iterations in bfloat16 bring them near to 1.
    assert singular.min() > 0.5
    assert singular.max() < 1.3


@pytest.mark.parametrize(
    ("family", "labels"),
    [*((name, 3) for name in CONFIGS), *((name, None) for name in CONFIGS if FAMILIES[name].decoder)],
)
def test_muon_trains_the_matrices_of_the_layers_and_adamw_all_else(family: str, labels: int | None) -> None:
    model = tiny_model(family, labels=labels)
    # Pegasus has positions that are never trained.
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    hidden = {names[id(parameter)] for parameter in hidden_matrices(model)}
    assert hidden
    assert all(any(part in name for part in _INNER) for name in hidden), hidden
    optimizer = OPTIMIZERS["Muon"](model, training("Muon"))
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len({id(parameter) for parameter in grouped}) == len(names)


def test_a_rate_that_the_schedule_sets_is_that_of_both_parts() -> None:
    model = Layers()
    optimizer = OPTIMIZERS["Muon"](model, training("Muon"))
    assert isinstance(optimizer, Both)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_muon_takes_its_settings_and_adamws() -> None:
    optimizer: Any = OPTIMIZERS["Muon"](Layers(), training("Muon", momentum=0.5, beta1=0.6, beta2=0.7, epsilon=1e-3))
    groups = optimizer.param_groups
    assert [group["momentum"] for group in groups if "momentum" in group] == [0.5]
    assert [(group["betas"], group["eps"]) for group in groups if "betas" in group] == [((0.6, 0.7), 1e-3)] * 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_planner_knows_what_an_optimizer_keeps(name: str) -> None:
    model = Layers(width=256)
    model.embeddings.requires_grad_(False)
    optimizer = OPTIMIZERS[name](model, training(name))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    parts = optimizer.parts if isinstance(optimizer, Both) else (optimizer,)
    kept = sum(
        value.nbytes
        for part in parts
        for state in part.state.values()
        for value in state.values()
        if torch.is_tensor(value) and value.numel() > 1
    )
    per_parameter = kept / sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    # Muon keeps one number for most, and the planner counts two.
    allowed = STATE_BYTES[name] - 4 if name == "Muon" else STATE_BYTES[name]
    assert per_parameter == pytest.approx(allowed, abs=0.2)


def test_of_an_optimizer_without_a_bound_bfloat16_may_hide_any_step() -> None:
    """A rate of SGD says nothing of how far a weight moves, so no run is refused for it."""
    reach = sum_of_rates(training("SGD"), 10)
    model = tiny_model("bert", labels=2)
    assert hidden_by_rounding(model, reach, "BF16") == {name for name, _ in model.named_parameters()}
