"""One worker trains in the driver's process (N9): it leaves nothing there, and its errors read as those of Ray's."""

import gc
from pathlib import Path

import pytest

from kubetune_api.job import FineTuneJob
from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.alone import errors_explained, trains_alone
from kubetune_trainer.errors import RunError
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows, write_csv


def tiny_run(folder: Path, stage: int) -> FineTuneJob:
    return job_for(
        "SequenceClassification",
        saved(tiny_model("bert", labels=2), folder / "model"),
        dataset={
            "uri": write_csv(folder / "rows.csv", ("text", "label"), hard_rows(40)),
            "columns": {"text": "text", "label": "label"},
        },
        zero={"stage": stage},
        training={"maxSteps": 2, "globalBatchSize": 8},
        output={"uri": (folder / "out").as_uri()},
    )


def models() -> list[object]:
    """What of a training is large, that of other tests included."""
    return [
        one for one in gc.get_objects() if type(one).__name__ in ("DeepSpeedEngine", "BertForSequenceClassification")
    ]


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_verification_has_the_memory_of_the_training(stage: int, tmp_path: Path) -> None:
    before = models()
    run_of(tiny_run(tmp_path, stage), tmp_path)
    gc.collect()
    assert [type(one).__name__ for one in models() if not any(one is known for known in before)] == []


def test_stage_3_has_a_process_of_its_own(tmp_path: Path) -> None:
    alone = [trains_alone(Run(job=tiny_run(tmp_path, stage), run_id="run-1", workers=1)) for stage in (2, 3)]
    assert alone == [True, False]


def fail(error: Exception, *, wrapped: bool) -> None:
    if wrapped:
        raise RuntimeError("a pass failed") from error
    raise error


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (RunError(Reason.INVALID_DATA, "row 3 is empty"), Reason.INVALID_DATA, "row 3 is empty"),
        (MemoryError(), Reason.OUT_OF_MEMORY, "lower spec.training.microBatchSize"),
        (OSError(28, "No space left on device", "/scratch/model"), Reason.STORAGE_FAILED, "(/scratch/model)"),
        (KeyError("w1"), Reason.UNKNOWN, "a worker failed: KeyError: 'w1'; see the log for all of it"),
    ],
    ids=["the run's own", "no memory", "a full disk", "one that nobody foresaw"],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "raised again by a library"])
def test_an_error_reads_as_that_of_a_worker_elsewhere(error: Exception, reason: str, says: str, wrapped: bool) -> None:
    with pytest.raises(RunError) as found, errors_explained():
        fail(error, wrapped=wrapped)
    assert found.value.reason == reason
    assert says in found.value.message
