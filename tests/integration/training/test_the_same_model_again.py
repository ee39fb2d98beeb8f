"""A recorded job that runs again gives the same model, file by file, or it is said what is another."""

import json
from pathlib import Path
from typing import Any

import pytest

from kubetune_api.job import FineTuneJob
from kubetune_trainer.artifact.compared import Comparison
from kubetune_trainer.artifact.examined import examine
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows, write_csv

RATE = {"training": {"globalBatchSize": 16, "learningRate": 4e-3, "maxSteps": 2}}


def again(folder: Path, first: Path, **changes: Any) -> Comparison:
    """The job that the manifest of the `first` run recorded, run again into a folder of its own."""
    recorded = json.loads(first.read_text())["provenance"]["job"]
    output = {"output": {"uri": (folder / "again").as_uri()}}
    job = FineTuneJob.model_validate({**recorded, "spec": {**recorded["spec"], **output, **changes}})
    found = examine(run_of(job, folder).artifact.uri, lambda *_: None, against=first.as_uri())
    assert (found.errors, found.against is None) == ((), False)
    assert found.against is not None
    return found.against


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
@pytest.mark.parametrize("changes", [{}, RATE], ids=["the recorded job", "another learning rate"])
def test_the_recorded_job_gives_the_same_files_and_another_one_says_why_not(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    base = saved(tiny_model("bert", labels=2), tmp_path / "base")
    rows = write_csv(tmp_path / "rows.csv", ("text", "label"), hard_rows(80))
    job = job_for(
        "SequenceClassification",
        base,
        dataset={"uri": rows, "columns": {"text": "text", "label": "label"}},
        training={"globalBatchSize": 16, "learningRate": 5e-3, "maxSteps": 2},
        output={"uri": (tmp_path / "out").as_uri()},
    )
    first = Path(run_of(job, tmp_path).artifact.manifest_uri.removeprefix("file://"))
    found = again(tmp_path, first, **changes)
    if changes:
        assert found.different == ("model.safetensors has other bytes",)
        assert "learningRate: 0.004 here, 0.005 there" in found.inputs
    else:
        assert (found.different, found.inputs) == ((), ())
        assert "model.safetensors" in found.equal
