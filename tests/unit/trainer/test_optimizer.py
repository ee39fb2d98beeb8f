"""AdamW's groups and the learning rate of every step."""

from typing import Any

import pytest
import torch
from transformers import Trainer

from kubetune_api.job import Training
from kubetune_trainer.training.optimizer import (
    adamw,
    clip_in_each_step,
    learning_rate_schedule,
    parameter_groups,
    sum_of_rates,
    warmup_steps,
)
from support.tiny_models import CONFIGS, spec_for, tiny_model


def training(**fields: Any) -> Training:
    return spec_for("CausalLM", training=fields).training


def rates(total: int, **fields: Any) -> list[float]:
    """The learning rate of each step, as a share of the highest."""
    job = training(learningRate=0.5, **fields)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=job.learning_rate)
    schedule = learning_rate_schedule(optimizer, job, total)
    seen = []
    for _ in range(total):
        seen.append(optimizer.param_groups[0]["lr"] / job.learning_rate)
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        pytest.param({"type": "Linear"}, [1, 0.75, 0.5, 0.25], id="linear, no warm-up"),
        pytest.param({"type": "Linear", "warmupSteps": 2}, [0, 0.5, 1, 0.5], id="linear, two steps of warm-up"),
        pytest.param({"type": "Linear", "warmupRatio": 0.5}, [0, 0.5, 1, 0.5], id="linear, half of it warm-up"),
        pytest.param({"type": "Cosine"}, [1, 0.853553, 0.5, 0.146447], id="cosine, no warm-up"),
        pytest.param({"type": "Cosine", "warmupSteps": 2}, [0, 0.5, 1, 0.5], id="cosine, two steps of warm-up"),
        pytest.param({"type": "Constant"}, [1, 1, 1, 1], id="constant"),
        pytest.param({"type": "Constant", "warmupSteps": 2}, [0, 0.5, 1, 1], id="constant after a warm-up"),
    ],
)
def test_learning_rate_of_each_step(schedule: dict[str, Any], expected: list[float]) -> None:
    assert rates(4, schedule=schedule) == pytest.approx(expected, abs=1e-6)


def test_the_rates_of_all_steps_together() -> None:
    job = training(learningRate=0.5, schedule={"type": "Linear", "warmupSteps": 2})
    assert sum_of_rates(job, 4) == pytest.approx(0.5 * sum(rates(4, schedule={"type": "Linear", "warmupSteps": 2})))


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        pytest.param({}, 0, id="unset"),
        pytest.param({"warmupSteps": 7}, 7, id="in steps"),
        pytest.param({"warmupRatio": 0.06}, 6, id="as a share of all steps"),
        pytest.param({"warmupRatio": 1.0}, 100, id="all of them"),
    ],
)
def test_warm_up(schedule: dict[str, Any], steps: int) -> None:
    assert warmup_steps(training(schedule=schedule), 100) == steps


@pytest.mark.parametrize("family", CONFIGS)
def test_weight_decay_spares_what_transformers_trainer_spares(family: str) -> None:
    model = tiny_model(family, labels=3)
    decayed, spared = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    theirs = set(Trainer.get_decay_parameter_names(None, model))
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
