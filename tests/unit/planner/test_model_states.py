"""Weights, gradients and optimizer states, held against the ZeRO paper and DeepSpeed's own estimators."""

from typing import Any

import pytest
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

from kubetune_planner.optimizers import STATE_BYTES
from kubetune_planner.states import BytesPerParameter, ModelStates, bytes_per_parameter, model_states

ADAMW = STATE_BYTES["AdamW"]
PAPER = BytesPerParameter(weight=2, gradient=2, optimizer=12)
"""Mixed precision with Adam as the paper counts it: gradients of 16 bits, K = 12."""
BF16_STAGE_2 = bytes_per_parameter("BF16", 2, ADAMW)


def states(cost: BytesPerParameter, parameters: int, **spread: Any) -> ModelStates:
    return model_states(cost, **{"parameters": parameters, "trained": parameters, "stage": 0, "workers": 1} | spread)


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_figure_1_of_the_zero_paper(stage: int, gigabytes: float) -> None:
    """7.5 billion parameters on 64 workers."""
    total = states(PAPER, 7_500_000_000, stage=stage, workers=64).total
    assert round(total / 1e9, 1) == gigabytes


@pytest.mark.parametrize(
    ("billions", "workers", "gigabytes"),
    [
        (7.5, 4, (52.5, 41.3, 30)),
        (7.5, 1024, (30.1, 15.1, 0.12)),
        (128, 4, (896, 704, 512)),
        (128, 64, (536, 284, 32)),
        (1000, 1024, (4011, 2013, 15.6)),
    ],
)
def test_table_1_of_the_zero_paper(billions: float, workers: int, gigabytes: tuple[float, ...]) -> None:
    found = [states(PAPER, int(billions * 1e9), stage=stage, workers=workers).total / 1e9 for stage in (1, 2, 3)]
    assert found == pytest.approx(gigabytes, rel=0.03)


@pytest.mark.parametrize("workers", [1, 2, 8, 64])
def test_deepspeeds_estimator_of_stage_2_counts_gradients_of_16_bits_as_well(workers: int) -> None:
    """It reckons with 2 bytes more per trained parameter and worker. In the release that the trainer uses, those
    gradients stand in the reduction's buckets, which the planner counts as buffers."""
    parameters = 8_030_261_248
    _, estimate = estimate_zero2_model_states_mem_needs(parameters, workers, cpu_offload=False)
    ours = states(BF16_STAGE_2, parameters, stage=2, workers=workers).total
    assert estimate == pytest.approx(ours + 2 * parameters / workers, abs=8)


@pytest.mark.parametrize("workers", [1, 2, 8, 64])
def test_deepspeeds_estimator_of_stage_3_agrees(workers: int) -> None:
    """But for the weights that are gathered: it counts one layer's, the planner all that the settings let stay."""
    parameters = 8_030_261_248
    _, estimate, of_a_layer = estimate_zero3_model_states_mem_needs(
        parameters, 525_336_576, workers, cpu_offload=False, cpu_offload_params=False
    )
    ours = states(bytes_per_parameter("BF16", 3, ADAMW), parameters, stage=3, workers=workers).total
    assert estimate - of_a_layer == pytest.approx(ours, abs=8)


def test_frozen_parameters_have_weights_and_nothing_else() -> None:
    found = model_states(PAPER, parameters=1000, trained=400, stage=0, workers=1)
    assert found == ModelStates(weights=2000, gradients=800, optimizer=4800)


@pytest.mark.parametrize("precision", ["FP32", "BF16"])
def test_each_stage_spreads_one_thing_more(precision: Any) -> None:
    spread = [
        states(bytes_per_parameter(precision, stage, ADAMW), 1 << 20, stage=stage, workers=4) for stage in (1, 2, 3)
    ]
    whole = [states(bytes_per_parameter(precision, stage, ADAMW), 1 << 20, stage=0, workers=1) for stage in (1, 2, 3)]
    assert [4 * found.optimizer == alone.optimizer for found, alone in zip(spread, whole, strict=True)] == [True] * 3
    assert [4 * found.gradients == alone.gradients for found, alone in zip(spread, whole, strict=True)] == [
        False, True, True,
    ]  # fmt: skip
    assert [4 * found.weights == alone.weights for found, alone in zip(spread, whole, strict=True)] == [
        False, False, True,
    ]  # fmt: skip
