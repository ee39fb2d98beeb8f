"""The learning rate of every step."""

from math import inf
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from kubetune_api.job import Training
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.training.schedule import (
    learning_rate_schedule,
    rate_of_steps,
    refuse_endless_warmup,
    sum_of_rates,
    warmup_steps,
)
from support.tiny_models import spec_for


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
        pytest.param(
            {"type": "CosineWithMinimum", "minimumRatio": 0.2}, [1, 0.882843, 0.6, 0.317157], id="cosine to a fifth"
        ),
        pytest.param({"type": "CosineWithMinimum"}, [1, 0.868198, 0.55, 0.231802], id="cosine to a tenth, unset"),
        pytest.param({"type": "WSD", "decayRatio": 0.5}, [1, 1, 1, 0.5], id="stable, and down over half of the steps"),
        pytest.param(
            {"type": "WSD", "decayRatio": 0.5, "minimumRatio": 0.2, "warmupSteps": 1},
            [0.2, 1, 1, 0.6],
            id="from and to a fifth",
        ),
        pytest.param({"type": "WSD", "decayRatio": 0.01}, [1, 1, 1, 1], id="down over the last step"),
        pytest.param(
            {"type": "InverseSqrt", "warmupSteps": 1}, [0, 1, 0.707107, 0.57735], id="by the root of the steps"
        ),
        pytest.param({"type": "Constant", "warmupSteps": 2}, [0, 0.5, 1, 1], id="constant after a warm-up"),
    ],
)
def test_learning_rate_of_each_step(schedule: dict[str, Any], expected: list[float]) -> None:
    assert rates(4, schedule=schedule) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize(
    ("schedule", "name", "more"),
    [
        pytest.param({"type": "Linear"}, "linear", {}, id="linear"),
        pytest.param({"type": "Cosine"}, "cosine", {}, id="cosine"),
        pytest.param(
            {"type": "CosineWithMinimum", "minimumRatio": 0.3}, "cosine_with_min_lr", {"min_lr_rate": 0.3}, id="minimum"
        ),
        pytest.param({"type": "Constant"}, "constant_with_warmup", {}, id="constant"),
        pytest.param(
            {"type": "WSD", "decayRatio": 0.3, "minimumRatio": 0.1},
            "warmup_stable_decay",
            {"num_decay_steps": 30, "min_lr_ratio": 0.1},
            id="stable, then down",
        ),
        pytest.param({"type": "InverseSqrt"}, "inverse_sqrt", {}, id="inverse root"),
    ],
)
def test_rates_are_those_of_transformers_to_the_last_bit(
    warmup: int, schedule: dict[str, Any], name: str, more: dict[str, Any]
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs: Any = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=100, scheduler_specific_kwargs=more
    )
    ours = rate_of_steps(training(schedule={**schedule, "warmupSteps": warmup}), 100)
    # One step more than there are: behind the last one a schedule is asked once more.
    assert [*map(ours, range(101))] == [*map(theirs.lr_lambdas[0], range(101))]


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


def test_rates_that_tell_nothing_of_how_far_a_weight_moves_have_no_sum() -> None:
    assert sum_of_rates(training(learningRate=0.5, layerwiseDecay=0.5), 4) == inf
    assert sum_of_rates(training(learningRate=0.5, optimizer={"type": "SGD"}), 4) == inf


def test_a_decay_that_begins_before_the_warm_up_ends_is_refused() -> None:
    job = training(schedule={"type": "WSD", "warmupSteps": 6, "decayRatio": 0.5})
    refuse_endless_warmup(job, 12)
    with pytest.raises(RunError, match="the warm-up takes 6 steps and the decay 5, of 10 in all") as error:
        refuse_endless_warmup(job, 10)
    assert error.value.reason == Reason.INVALID_MANIFEST
