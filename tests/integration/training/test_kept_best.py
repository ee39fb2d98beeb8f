"""Early stopping ends a training at the right step, and what is published are the weights of the best one."""

import json
from pathlib import Path

import pytest

from kubetune_trainer.records import TrainingEnd
from support.kept_best import BEST, STOPPED, Kept, stop_in_each
from support.ranks import run_ranks
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows, write_csv
from support.training_cases import SAVINGS, Case

CASES = [
    *(Case("llama", micro=4, stage=stage) for stage in range(4)),
    *(Case("llama", micro=4, stage=stage, bf16=True) for stage in (1, 3)),
    Case("llama", micro=4, stage=3, saves=SAVINGS),
]


@pytest.fixture(scope="module")
def ranks() -> list[dict[Case, tuple[Kept, Kept]]]:
    return run_ranks(stop_in_each, 2, CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.how)
def test_a_training_stops_after_its_patience_and_publishes_the_weights_of_its_best_step(
    case: Case, ranks: list[dict[Case, tuple[Kept, Kept]]]
) -> None:
    for rank in ranks:
        stopped, best = rank[case]
        assert stopped.end == TrainingEnd(STOPPED, case.steps, kept_step=BEST)
        assert stopped.judged == [
            ("validation", 2, False),
            ("validation", 4, False),
            ("validation", 6, False),
            ("validation", 8, False),
            ("validation", 4, True),
            ("test", 4, True),
        ]
        assert best.end == TrainingEnd(BEST, BEST, kept_step=BEST)
        assert stopped.test_loss == best.test_loss
    stopped, best = ranks[0][case]
    assert len(stopped.digests) > 0
    assert stopped.digests == best.digests


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_a_run_that_stops_early_publishes_its_best_weights_and_says_so(tmp_path: Path) -> None:
    """From the manifest to report and status; no improvement is large enough, so the second evaluation ends it."""
    base = saved(tiny_model("bert", labels=2), tmp_path / "base")
    job = job_for(
        "SequenceClassification", base,
        dataset={"uri": write_csv(tmp_path / "rows.csv", ("text", "label"), hard_rows(120)),
                 "columns": {"text": "text", "label": "label"}},
        training={"globalBatchSize": 8, "learningRate": 1e-2, "epochs": 4,
                  "earlyStopping": {"patience": 1, "minDelta": 1000}, "l1": 0.01, "layerwiseDecay": 0.9,
                  "dropout": 0.1, "neftuneAlpha": 5, "schedule": {"type": "WSD"}, "optimizer": {"type": "Lion"}},
        evaluation={"everySteps": 2, "primaryMetric": "validation/loss"}, output={"uri": (tmp_path / "out").as_uri()},
    )  # fmt: skip
    published = run_of(job, tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://")).parent
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (end,) = (line for line in lines if line["type"] == "end")
    losses = {line["step"]: line["metrics"]["loss"] for line in lines if line.get("split") == "validation"}
    assert list(losses) == [2, 4]
    assert (end["step"], end["keptStep"]) == (4, min(losses, key=losses.__getitem__))
    assert published.primary_metric == "validation/loss"
    assert published.metrics["validation/loss"] == min(losses.values())
    manifest = json.loads((tmp_path / published.artifact.manifest_uri.removeprefix("file://")).read_bytes())
    assert manifest["provenance"]["keptStep"] == end["keptStep"]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    progress = [event["progress"] for event in events if event["event"] == "progress"][-1]
    assert (progress["step"], progress["keptStep"]) == (4, end["keptStep"])
    assert f"stopped early, at step 4 of {end['totalSteps']}" in (folder / "report.html").read_text()
