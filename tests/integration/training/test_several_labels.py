"""A whole run of a classification of several labels: the threshold that the validation split chooses is published."""

import json
from pathlib import Path

import pytest

from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_the_threshold_of_the_validation_split_judges_the_test_split_and_is_published(tmp_path: Path) -> None:
    base = saved(tiny_model("bert", labels=2), tmp_path / "base")
    rows = [{"text": text, "labels": ["long"] * (len(text) > 30) + [said]} for text, said in hard_rows(160)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = job_for(
        "MultiLabelClassification", base,
        dataset={"uri": data.as_uri(), "columns": {"text": "text", "labels": "labels"}},
        training={"globalBatchSize": 8, "learningRate": 5e-3, "epochs": 3, "keep": "Best"},
        evaluation={"primaryMetric": "validation/f1_micro"}, output={"uri": (tmp_path / "out").as_uri()},
    )  # fmt: skip
    published = run_of(job, tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://"))
    events = [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]
    evaluations = [event for event in events if event["type"] == "evaluation"]
    (test,) = [event for event in evaluations if event["split"] == "test"]
    (kept,) = [event for event in evaluations if event["split"] == "validation" and event["step"] == test["step"]]
    config = json.loads((folder / "config.json").read_text())
    assert config["threshold"] == test["threshold"] == kept["threshold"]
    assert config["problem_type"] == "multi_label_classification"
    assert list(config["id2label"].values()) == ["long", "no", "yes"]
    assert test["metrics"]["f1_micro"] > 0.6
    assert f"from a score of {test['threshold']} on" in (folder.parent / "README.md").read_text()
