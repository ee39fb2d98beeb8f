"""FP16 with a scaled loss: about the losses of FP32, and gradients that overflow cost no batch.

On a CPU only where torch computes in float16 there; a run of the product refuses CPUs.
"""

import pytest

from support.lost_numbers import overflow_in_each
from support.ranks import run_ranks
from support.training_cases import Case, Trained

CASES = [Case("llama", micro=4, stage=stage, fp16=True) for stage in (1, 2, 3)]
FULL = Case("llama", micro=4)


@pytest.fixture(scope="module")
def losses() -> dict[Case, tuple[list[float], list[float]]]:
    return run_ranks(overflow_in_each, 2, CASES)[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"stage {case.stage}")
def test_a_step_whose_gradients_overflow_is_computed_again(
    case: Case, losses: dict[Case, tuple[list[float], list[float]]]
) -> None:
    plain, overflowing = losses[case]
    assert len(plain) == len(overflowing) == case.steps
    assert overflowing == pytest.approx(plain, abs=0.01)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"stage {case.stage}")
def test_float16_learns_about_as_well_as_32_bits(
    case: Case, losses: dict[Case, tuple[list[float], list[float]]], one_worker: list[dict[Case, Trained]]
) -> None:
    full = one_worker[0][FULL.alone].losses
    assert losses[case][0] != full
    assert losses[case][0] == pytest.approx(full, abs=0.05)
