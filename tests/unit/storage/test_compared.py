"""Two runs side by side: a job that ran again has the same files, or it is said what differs."""

from dataclasses import replace
from pathlib import Path

import pytest

from kubetune_trainer.artifact.compared import Comparison
from kubetune_trainer.artifact.examined import examine
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import RunRecord
from support.published_runs import RECORD, published_run
from support.run_records import stored
from support.signing_keys import write_keys

FILES = ("config.json", "model.safetensors", "tokenizer.json")


def comparison(folder: Path, again: RunRecord, **changes: object) -> Comparison:
    """The record, published, beside another one."""
    published_run((folder / "first").as_uri())
    published_run((folder / "again").as_uri(), again, **changes)  # type: ignore[arg-type]
    found = examine((folder / "again").as_uri(), lambda *_: None, against=(folder / "first").as_uri()).against
    assert found is not None
    return found


def test_a_job_that_runs_again_has_the_same_files(tmp_path: Path) -> None:
    """Its name, its times and its signature are its own."""
    job = RECORD.job.model_copy(update={"metadata": RECORD.job.metadata.model_copy(update={"name": "again"})})
    again = replace(RECORD, job=job, run_id="run-2", start_time="2027-01-01T00:00:00Z")
    assert comparison(tmp_path, again, signing_key=write_keys(tmp_path)[0]) == Comparison(
        uri=(tmp_path / "first/manifest.json").as_uri(), equal=FILES, different=(), inputs=()
    )


@pytest.mark.parametrize(
    ("again", "said"),
    [
        pytest.param(
            replace(RECORD, resolved=replace(RECORD.resolved, workers=3)), "workers: 3 here, 2 there", id="workers"
        ),
        pytest.param(
            replace(RECORD, device="1 x H200"), "device: 1 x H200 here, 2 x Intel Xeon (CPU) there", id="device"
        ),
        pytest.param(
            replace(RECORD, versions={**RECORD.versions, "torch": "2.16.0"}),
            "versions.torch: 2.16.0 here, 2.15.0 there",
            id="a version",
        ),
        pytest.param(
            replace(RECORD, data=replace(RECORD.data, files=(stored("s3://other.csv", 3),))),
            "data.files: other bytes were read",
            id="data",
        ),
        pytest.param(
            replace(RECORD, base=replace(RECORD.base, adapter=(stored("hf://a/b/adapter.safetensors", 3),))),
            "adapter.files: other bytes were read",
            id="an adapter",
        ),
    ],
)
def test_what_was_recorded_and_differs_is_said(tmp_path: Path, again: RunRecord, said: str) -> None:
    found = comparison(tmp_path, again)
    assert (found.equal, found.inputs[:1]) == (FILES, (said,))


def test_the_same_bytes_from_elsewhere_are_no_other_input(tmp_path: Path) -> None:
    moved = tuple(replace(file, name=f"file:///copy/{number}") for number, file in enumerate(RECORD.data.files))
    assert comparison(tmp_path, replace(RECORD, data=replace(RECORD.data, files=moved))).inputs == ()


def test_files_that_differ_are_named(tmp_path: Path) -> None:
    def change(model: Path) -> None:
        (model / "tokenizer.json").write_text("[]")
        (model / "vocab.txt").write_text("a")

    found = comparison(tmp_path, RECORD, change=change)
    assert found.different == ("tokenizer.json has other bytes", "vocab.txt is only here")
    assert found.equal == ("config.json", "model.safetensors")


def test_another_run_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    published_run((tmp_path / "first").as_uri())
    with pytest.raises(RunError, match="no run was published there"):
        examine((tmp_path / "first").as_uri(), lambda *_: None, against=(tmp_path / "none").as_uri())
