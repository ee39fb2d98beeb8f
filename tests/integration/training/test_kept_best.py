"""Early stopping ends a training at the right step, and what is published are the weights of the best one."""

import pytest

from kubetune_trainer.records import TrainingEnd
from support.kept_best import BEST, STOPPED, Kept, stop_in_each
from support.ranks import run_ranks
from support.training_cases import Case

CASES = [
    *(Case("llama", micro=4, stage=stage) for stage in range(4)),
    *(Case("llama", micro=4, stage=stage, bf16=True) for stage in (1, 3)),
]


@pytest.fixture(scope="module")
def ranks() -> list[dict[Case, tuple[Kept, Kept]]]:
    return run_ranks(stop_in_each, 2, CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"stage {case.stage}{', BF16' * case.bf16}")
def test_a_training_stops_after_its_patience_and_publishes_the_weights_of_its_best_step(
    case: Case, ranks: list[dict[Case, tuple[Kept, Kept]]]
) -> None:
    for rank in ranks:
        stopped, best = rank[case]
        assert stopped.end == TrainingEnd(STOPPED, case.steps, kept_step=BEST)
        assert stopped.judged == [
            ("validation", 2),
            ("validation", 4),
            ("validation", 6),
            ("validation", 8),
            ("test", 4),
        ]
        assert best.end == TrainingEnd(BEST, BEST, kept_step=BEST)
        assert stopped.test_loss == best.test_loss
    stopped, best = ranks[0][case]
    assert len(stopped.digests) > 0
    assert stopped.digests == best.digests
