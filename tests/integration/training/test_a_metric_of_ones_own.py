"""A metric that a package offers, from the manifest to the verdict; of several workers it is that of all their rows."""

import json
from pathlib import Path

import pytest

from support.metric_packages import install
from support.ranks import run_ranks
from support.runs_in_one_process import run_of
from support.shared_metrics import shares
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows, write_csv

COLUMNS = {"text": "text", "label": "label"}


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_a_run_is_judged_by_a_metric_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "shop", {"cost": "cost", "count": "rows", "raises_on_many": "raises_on_many"})
    monkeypatch.syspath_prepend(tmp_path)
    base = saved(tiny_model("bert", labels=2), tmp_path / "base")
    rows = [(text, label, ("de", "en")[number % 2]) for number, (text, label) in enumerate(hard_rows(120))]
    job = job_for(
        "SequenceClassification",
        base,
        dataset={"uri": write_csv(tmp_path / "rows.csv", ("text", "label", "lang"), rows), "columns": COLUMNS},
        training={"globalBatchSize": 16, "learningRate": 1e-2, "maxSteps": 2},
        evaluation={
            "metrics": ["cost", "count", "raises_on_many"],
            "slices": [{"name": "german", "column": "lang", "values": ["de"]}],
            "require": [{"metric": "test/custom.cost", "max": -1.0}, {"metric": "test/german/custom.count", "min": 1}],
        },
        output={"uri": (tmp_path / "out").as_uri()},
    )
    published = run_of(job, tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://")).parent
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (judged,) = (line for line in lines if line.get("split") == "test")
    of_labels = {one["label"]: one["rows"] for one in judged["perClass"]}
    assert judged["metrics"]["custom.count"] == sum(of_labels.values())
    assert judged["slices"][0]["metrics"]["custom.count"] == judged["slices"][0]["rows"]
    assert 0 <= judged["metrics"]["custom.cost"] <= 5
    assert published.metrics["test/custom.cost"] == judged["metrics"]["custom.cost"]
    assert judged["metrics"]["custom.raises_on_many"] is None
    report = (folder / "report.html").read_text()
    assert "test custom.cost" in report
    assert "`raises_on_many` raised ValueError: too many rows on the test split" in report
    assert "too many rows" not in (tmp_path / "events.jsonl").read_text()
    assert "custom.cost" in (folder / "README.md").read_text()
    assert "test/custom.cost is" in report  # the requirement that it missed
    assert "test/german/custom.count is" not in report


def test_rows_of_all_workers_are_compared_in_their_order_and_once() -> None:
    assert run_ranks(shares, 2) == [{"custom.first": float(sum(row * row for row in range(50)))}] * 2
