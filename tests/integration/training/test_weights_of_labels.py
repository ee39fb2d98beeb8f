"""Weights of labels move the recall of a rare one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kubetune_api.job import Task
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows, write_csv


def rare_rows() -> list[tuple[str, str]]:
    """Hard ones, of which one in nine is "yes"."""
    rows = hard_rows(500)
    yes, no = ([row for row in rows if row[1] == label] for label in ("yes", "no"))
    return no + yes[: len(no) // 8]


def recalls(folder: Path, settings: dict[str, Any]) -> dict[str, float]:
    folder.mkdir()
    base, data = saved(tiny_model("distilbert", labels=2), folder / "base"), folder / "rows.csv"
    job = job_for(
        "SequenceClassification", base,
        dataset={
            "uri": write_csv(data, ("text", "label"), rare_rows()),
            "columns": {"text": "text", "label": "label"}, "validationFraction": 0, "testFraction": 0.4,
        },
        training={"globalBatchSize": 16, "learningRate": 5e-3, "epochs": 3},
        output={"uri": (folder / "out").as_uri()},
    )  # fmt: skip
    task = Task.model_validate({"type": "SequenceClassification", "sequenceClassification": settings})
    return run_of(job.model_copy(update={"spec": job.spec.model_copy(update={"task": task})}), folder).metrics


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_balanced_labels_find_more_of_a_rare_one(tmp_path: Path) -> None:
    plain = recalls(tmp_path / "plain", {})
    balanced = recalls(tmp_path / "balanced", {"classWeights": "Balanced"})
    assert balanced["test/recall_macro"] > plain["test/recall_macro"] + 0.1
    # The loss is the plain one in both: weights cost some of it.
    assert np.isfinite([plain["test/loss"], balanced["test/loss"]]).all()
    assert balanced["test/loss"] > plain["test/loss"]
