"""A training that goes on from its checkpoint comes to what it would have come to, however it is spread then."""

import shutil
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from support.ranks import run_ranks
from support.resumed import (
    EVERY,
    SAVED,
    STEPS,
    Ended,
    Fetched,
    go_on,
    go_on_in_each,
    replaced_at,
    save_and_go_on,
    what_is_fetched,
)
from support.training_cases import OPTIMIZER, SAVINGS, Case

SPREAD = [Case("llama", micro=4, stage=stage) for stage in range(4)]
TWO = [
    *SPREAD,
    Case("llama", micro=4, stage=1, bf16=True),
    Case("llama", micro=4, stage=2, optimizer="Lion"),
    Case("bert", micro=4, stage=3, lora="RsLoRA"),
    Case("llama", micro=4, stage=2, saves=(OPTIMIZER,)),
    Case("llama", micro=4, stage=3, bf16=True, saves=SAVINGS),
]
ONE = [*(Case("bert", optimizer=name) for name in ("AdamW", "Adafactor", "Muon"))]


def name_of(case: Case) -> str:
    return f"{case.family}, {case.optimizer}, {case.how}{', LoRA' * bool(case.lora)}"


Both = list[dict[Case, tuple[Ended, Ended]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def two_workers(folder: Path) -> Both:
    return run_ranks(save_and_go_on, 2, TWO, str(folder / "two"))


@pytest.fixture(scope="module")
def one_worker(folder: Path) -> Both:
    return run_ranks(save_and_go_on, 1, ONE, str(folder / "one"))


def assert_equal(undisturbed: Ended, resumed: Ended) -> None:
    assert [one.step for one in resumed.resumed] == [SAVED]
    assert resumed.losses == undisturbed.losses
    assert sorted(resumed.losses) == list(range(1, STEPS + 1))
    assert resumed.judged == undisturbed.judged
    assert resumed.end == undisturbed.end
    assert resumed.digests == undisturbed.digests


@pytest.mark.parametrize("case", TWO, ids=name_of)
def test_two_workers_go_on_bit_for_bit(case: Case, two_workers: Both) -> None:
    for rank in two_workers:
        assert_equal(*rank[case])
    assert two_workers[0][case][0].digests


@pytest.mark.parametrize("case", ONE, ids=name_of)
def test_one_worker_goes_on_bit_for_bit(case: Case, one_worker: Both) -> None:
    assert_equal(*one_worker[0][case])


FEWER = [replace(case, stage=(case.stage + 1) % 4) for case in SPREAD]
MORE = [replace(ONE[0], stage=stage, micro=4) for stage in range(4)]


@pytest.fixture(scope="module")
def fewer(folder: Path, two_workers: Both) -> list[dict[Case, Ended]]:
    return run_ranks(go_on, 1, FEWER, str(folder / "two"))


@pytest.fixture(scope="module")
def more(folder: Path, one_worker: Both) -> list[dict[Case, Ended]]:
    for number in range(len(MORE)):
        shutil.copytree(folder / "one" / "0", folder / "more" / str(number))
    return run_ranks(go_on, 2, MORE, str(folder / "more"))


def assert_close(undisturbed: Ended, resumed: Ended) -> None:
    assert [one.step for one in resumed.resumed] == [SAVED]
    assert resumed.losses == pytest.approx(undisturbed.losses, rel=1e-3)
    assert [one[:2] for one in resumed.judged] == [one[:2] for one in undisturbed.judged]
    assert resumed.judged[-1][2]["loss"] == pytest.approx(undisturbed.judged[-1][2]["loss"], rel=1e-3)
    assert resumed.end == undisturbed.end


@pytest.mark.parametrize("number", range(4), ids=lambda number: f"from stage {number} to {FEWER[number].stage}")
def test_one_worker_goes_on_where_two_have_been(number: int, two_workers: Both, fewer: list[dict[Case, Ended]]) -> None:
    assert_close(two_workers[0][SPREAD[number]][0], fewer[0][FEWER[number]])


@pytest.mark.parametrize("case", MORE, ids=lambda case: f"at stage {case.stage}")
def test_two_workers_go_on_where_one_has_been(case: Case, one_worker: Both, more: list[dict[Case, Ended]]) -> None:
    for rank in more:
        assert_close(one_worker[0][ONE[0]][0], rank[case])


def shard(root: Path, step: int) -> Path:
    (found,) = root.glob(f"executions/1/checkpoints/step-{step:08}/*.safetensors")
    return found


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def flip_a_bit(root: Path) -> None:
    flip(shard(root, SAVED))


def cut(root: Path) -> None:
    shard(root, SAVED).write_bytes(shard(root, SAVED).read_bytes()[:-100])


def lose(root: Path) -> None:
    shard(root, SAVED).unlink()


def swap(root: Path) -> None:
    shutil.copy(shard(root, EVERY), shard(root, SAVED))


def lose_the_history(root: Path) -> None:
    (shard(root, SAVED).parent / "history.json").unlink()


def edit_the_manifest(root: Path) -> None:
    entry = root / "checkpoints" / "000003.json"
    entry.write_bytes(entry.read_bytes().replace(b'"step":8', b'"step":9'))


def take_the_commit_away(root: Path) -> None:
    """As where the process was killed between the last upload and the commit."""
    (root / "checkpoints" / "000003.json").unlink()
    (root / "checkpoints" / "000004.json").unlink()


DAMAGE = {
    flip_a_bit: "the checkpoint of step 8 cannot be used: ….safetensors was changed",
    cut: "the checkpoint of step 8 cannot be used: ….safetensors has … bytes, and … were written",
    lose: "the checkpoint of step 8 cannot be used: ….safetensors is missing",
    swap: "the checkpoint of step 8 cannot be used: ….safetensors was changed",
    lose_the_history: "the checkpoint of step 8 cannot be used: …/history.json is missing",
    edit_the_manifest: "…/checkpoints/000003.json cannot be used: its manifest was edited",
    take_the_commit_away: None,
}
"""What is said of each."""


@pytest.fixture(scope="module")
def damaged(folder: Path, one_worker: Both) -> list[Ended]:
    for damage in DAMAGE:
        shutil.copytree(folder / "one" / "0", folder / "damaged" / damage.__name__)
        damage(folder / "damaged" / damage.__name__ / "default" / "tiny" / "run-1")
    folders = [str(folder / "damaged" / damage.__name__) for damage in DAMAGE]
    (found,) = run_ranks(go_on_in_each, 1, ONE[0], folders)
    return found


@pytest.mark.parametrize(("number", "said"), enumerate(DAMAGE.values()), ids=[one.__name__ for one in DAMAGE])
def test_the_one_before_a_damaged_checkpoint_is_used(
    number: int, said: str | None, damaged: list[Ended], one_worker: Both
) -> None:
    (resumption,) = damaged[number].resumed
    assert resumption.step == EVERY
    assert len(resumption.skipped) == (said is not None)
    for found in resumption.skipped:
        assert fnmatch(found, (said or "").replace("…", "*"))
    undisturbed, _ = one_worker[0][ONE[0]]
    assert damaged[number].losses == undisturbed.losses
    assert damaged[number].digests == undisturbed.digests


@pytest.fixture(scope="module")
def fetched(folder: Path, two_workers: Both) -> list[list[Fetched]]:
    """By rank: spread as before, and with a damaged shard of the second rank."""
    damaged, two = folder / "damaged by two", folder / "two"
    shutil.copytree(two / "2", damaged)
    (path,) = damaged.rglob(f"step-{SAVED:08}/rank-00001.safetensors")
    flip(path)
    whole = [(case, str(two / str(number))) for number, case in enumerate(SPREAD)]
    return run_ranks(what_is_fetched, 2, [*whole, (SPREAD[2], str(damaged))])


def sizes_of(folder: Path, number: int, step: int) -> dict[str, int]:
    """The bytes of each file of a checkpoint of a training of two workers, by name."""
    files = (folder / "two" / str(number)).rglob(f"step-{step:08}/*")
    return {path.name: path.stat().st_size for path in files}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_rank_fetches_its_own_shard_alone_where_the_training_is_spread_as_before(
    stage: int, folder: Path, fetched: list[list[Fetched]]
) -> None:
    sizes, first = sizes_of(folder, stage, SAVED), sizes_of(folder, stage, EVERY)
    told = first["records.json"] + sizes["records.json"] + sizes["history.json"]
    records = ("records.json", "records.json")
    for rank, found in enumerate(fetched):
        assert found[stage].step == SAVED
        assert found[stage].names == (*records, "history.json", f"rank-{rank:05}.safetensors")
        assert found[stage].most == told + sizes[found[stage].names[-1]]


def test_no_rank_goes_on_from_what_one_of_them_finds_damaged(fetched: list[list[Fetched]]) -> None:
    for ranks in fetched:
        assert ranks[-1].step == EVERY
        (said,) = ranks[-1].skipped
        assert said.endswith("rank-00001.safetensors was changed")


def test_an_execution_that_was_replaced_ends_at_its_next_commit(tmp_path: Path) -> None:
    ((said, last),) = run_ranks(replaced_at, 1, ONE[0], str(tmp_path), SAVED - 1)
    assert said.startswith("another execution of this run has begun")
    assert last == SAVED + 2
