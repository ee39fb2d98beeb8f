"""T17: gradients or a loss that are not finite end the run at every stage, with the weights as they were."""

import pytest

from kubetune_api.reasons import Reason
from support.lost_numbers import GOOD_STEPS, Lost, Where, lose_in_each
from support.ranks import run_ranks
from support.training_cases import OPTIMIZER, Case

CASES = [
    *(Case("llama", micro=2, stage=stage) for stage in range(4)),
    *(Case("llama", micro=2, stage=stage, bf16=True) for stage in range(1, 4)),
    *(Case("llama", micro=2, stage=stage, saves=(OPTIMIZER,)) for stage in (1, 3)),
    Case("llama", micro=2, stage=2, bf16=True, saves=(OPTIMIZER,)),
]
IN_EACH: list[tuple[Case, Where]] = [*((case, "gradients") for case in CASES), (CASES[0], "loss"), (CASES[-1], "loss")]
SAYS = {
    "gradients": f"the gradients of step {GOOD_STEPS + 1} are not finite",
    "loss": f"the loss of step {GOOD_STEPS + 1} is nan",
}
REMEDY = {
    False: "; lower spec.training.learningRate or lengthen the warm-up",
    True: "; lower spec.training.learningRate, lengthen the warm-up, or set spec.training.precision to FP32",
}


@pytest.fixture(scope="module")
def ranks() -> list[dict[tuple[Case, Where], Lost]]:
    return run_ranks(lose_in_each, 2, IN_EACH)


@pytest.mark.parametrize(
    ("case", "where"),
    [pytest.param(*each, id=f"{each[1]}, {each[0].how}") for each in IN_EACH],
)
def test_a_number_that_one_rank_loses_ends_the_run_on_every_rank_before_the_weights_are_spoiled(
    case: Case, where: Where, ranks: list[dict[tuple[Case, Where], Lost]]
) -> None:
    expected = Lost(Reason.NOT_FINITE, SAYS[where] + REMEDY[case.bf16], GOOD_STEPS, unspoiled=True)
    assert [rank[case, where] for rank in ranks] == [expected, expected]
