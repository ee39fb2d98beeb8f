"""Two ranks wait for each other in each step; the slower one is known by its own passes."""

from kubetune_trainer.watchdog.stragglers import slowest
from support.ranks import run_ranks
from support.slow_rank import SLOW, last_beat
from support.training_cases import Case


def test_the_rank_that_the_other_waits_for_is_known() -> None:
    found = slowest(run_ranks(last_beat, 2, Case("llama", steps=20)))
    assert found is not None
    assert found.sender.rank == SLOW
