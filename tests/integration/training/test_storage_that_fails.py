"""Storage that fails costs a training checkpoints, and nothing else."""

from pathlib import Path

import pytest

from kubetune_trainer.underway import NotSaved, Saved
from support.faulty_storage import BREAKS, MENDED, one_rank_fails, through_faults
from support.ranks import run_ranks
from support.resumed import EVERY, SAVED, Ended
from support.small_disk import disk_of
from support.training_cases import Case

WHY = {
    "stopped": "could not be written",
    "silent": "could not be written",
    "500 for a while": "answered with HTTP status 500",
    "other keys": "refused the credentials",
    "full store": "could not be written: no space is left on the device",
    "full worker": "the disk of a worker is too small",
}
assert BREAKS < EVERY < MENDED < SAVED


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    folder = tmp_path_factory.mktemp("faults")
    with disk_of(2**20, folder / "tried"):
        pass
    (found,) = run_ranks(through_faults, 1, Case("llama"), str(folder))
    return found


@pytest.mark.parametrize("fault", [*WHY, "every third request"])
def test_the_training_goes_on_as_if_nothing_had_been(ended: dict[str, Ended], fault: str) -> None:
    assert ended[fault].losses == ended["nothing"].losses
    assert ended[fault].judged == ended["nothing"].judged
    assert ended[fault].digests == ended["nothing"].digests


@pytest.mark.parametrize("fault", WHY)
def test_the_checkpoint_that_was_due_is_lost_and_the_next_is_saved(ended: dict[str, Ended], fault: str) -> None:
    lost, saved = ended[fault].saves
    assert isinstance(lost, NotSaved)
    assert (lost.step, saved.step) == (EVERY, SAVED)
    assert isinstance(saved, Saved)
    assert WHY[fault] in lost.why


def test_a_request_that_fails_now_and_then_costs_nothing(ended: dict[str, Ended]) -> None:
    for fault in ("nothing", "every third request"):
        assert all(isinstance(one, Saved) for one in ended[fault].saves)
        assert [one.step for one in ended[fault].saves] == [EVERY, SAVED]


def test_one_rank_that_fails_costs_all_of_them_that_checkpoint_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    first, second = run_ranks(one_rank_fails, 2, Case("llama", micro=4, stage=1), str(tmp_path / "out"))
    lost, saved = first.saves
    assert isinstance(lost, NotSaved)
    assert isinstance(saved, Saved)
    assert (lost.step, saved.step) == (EVERY, SAVED)
    assert "a worker failed: FileNotFoundError" in lost.why
    assert second.saves == [lost], "commits are told by the first rank alone"
    assert {path.parent.name for path in tmp_path.rglob("step-*/*") if path.is_file()} == {f"step-{SAVED:08}"}
