"""A run that is killed comes to what it would have come to, whatever it was doing; a stale one decides nothing."""

import signal
from pathlib import Path

import pytest

from support.killing import Killing, Moment, assert_equal, job_with_checkpoints

TRAINER = "kubetune_trainer."
STEP = TRAINER + "training.loop:Loop._take_step"
SNAPSHOT = TRAINER + "checkpoint.saver:shapes_of"
WRITING = TRAINER + "checkpoint.uploading:write_shard"
UPLOAD = TRAINER + "storage.store:Store.upload"
COMMIT = TRAINER + "checkpoint.chain:Chain.commit"
RESUME = TRAINER + "checkpointed:resume"
BEGIN = TRAINER + "checkpoint.chain:Chain.begin"
EVALUATION = TRAINER + "training.loop:evaluate"
MODEL = TRAINER + "worker:upload_folder"
END = TRAINER + "checkpoint.chain:Chain.end"
REPORT = TRAINER + "driver:upload_folder"
PUBLISHED = TRAINER + "driver:commit"

DEATHS = {
    "in steps": [Moment(STEP, count=3), Moment(STEP, "after", 9), Moment(STEP, count=2)],
    "around a snapshot": [Moment(SNAPSHOT, count=2), Moment(WRITING, "after", 1), Moment(UPLOAD, "after", 1)],
    "around a commit": [Moment(COMMIT, count=2), Moment(COMMIT, "after", 1), Moment(COMMIT, count=1)],
    "in evaluations, and as it begins": [Moment(EVALUATION, count=3), Moment(BEGIN, "after"), Moment(RESUME, "after")],
    "at its end": [Moment(MODEL), Moment(END, "after"), Moment(REPORT), Moment(PUBLISHED), Moment(PUBLISHED, "after")],
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_with_checkpoints(tmp_path_factory.mktemp("job"), steps=24, evaluate=4)


@pytest.fixture(scope="module")
def undisturbed(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Killing:
    run = Killing.of(job, tmp_path_factory.mktemp("undisturbed"))
    run.finish()
    assert [step for step, _ in run.losses] == list(range(1, 25))
    return run


@pytest.mark.parametrize("deaths", DEATHS.values(), ids=DEATHS)
def test_a_run_that_is_killed_comes_to_the_same_bit_for_bit(
    deaths: list[Moment], job: Path, undisturbed: Killing, tmp_path: Path
) -> None:
    run = Killing.of(job, tmp_path)
    for moment in deaths:
        run.die(moment)
    run.finish()
    assert_equal(run, undisturbed)


FROZEN = {
    "in a step": Moment(STEP, count=8),
    "before a commit": Moment(COMMIT, count=2),
    "before it says that it publishes": Moment(END),
    "before it publishes": Moment(PUBLISHED),
}


@pytest.mark.parametrize("moment", FROZEN.values(), ids=FROZEN)
def test_a_frozen_execution_that_comes_back_decides_nothing(
    moment: Moment, job: Path, undisturbed: Killing, tmp_path: Path
) -> None:
    run = Killing.of(job, tmp_path)
    stale = run.begin(moment, signal.SIGSTOP)
    stale.wait_until_frozen()
    run.finish()
    decided = run.decided
    stale.thaw()
    ended = stale.end()
    assert run.decided == decided
    assert ended.result.startswith("Interrupted") or moment.function == PUBLISHED, ended
    assert_equal(run, undisturbed)
