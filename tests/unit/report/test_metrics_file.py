"""`metrics.jsonl`: every event in its order, as JSON that any reader takes."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kubetune_trainer.figures import SliceRecord
from kubetune_trainer.records import EvaluationRecord, RunRecord, TrainingEnd
from kubetune_trainer.report import metric_lines, write_metrics
from kubetune_trainer.shown_rows import WorstRow
from support.run_records import causal, classification, evaluation, job, run, steps


def read(record: RunRecord) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in metric_lines(record)]


def test_each_step_and_each_evaluation_has_its_line_in_order() -> None:
    events = [(event["type"], event["step"]) for event in read(causal())]
    assert len(events) == 120 + 6 + 1
    assert events[:3] == [("evaluation", 0), ("evaluation", 0), ("step", 1)]
    assert events[-4:] == [("step", 120), ("evaluation", 120), ("evaluation", 120), ("end", 120)]


def test_the_end_says_which_weights_are_published() -> None:
    record = replace(run(job(), steps=steps(8)), end=TrainingEnd(8, 20, kept_step=4))
    assert read(record)[-1] == {"type": "end", "step": 8, "totalSteps": 20, "keptStep": 4}


def test_a_step_has_the_fields_of_its_record_in_camel_case() -> None:
    (step,) = steps(1)
    assert read(run(job(), steps=(step,)))[:-1] == [
        {
            "type": "step",
            "step": 1,
            "epoch": step.epoch,
            "loss": step.loss,
            "learningRate": step.learning_rate,
            "gradientNorm": step.gradient_norm,
            "tokens": step.tokens,
            "seconds": step.seconds,
        }
    ]


def test_an_evaluation_has_its_metrics_its_labels_and_the_entries_of_its_matrix() -> None:
    event, _ = read(run(job(), evaluations=(evaluation(("a", "b"), "test", 4, 1.0, 0.5, ((3, 0), (1, 4))),)))
    assert event["split"] == "test"
    assert event["metrics"]["accuracy"] == 7 / 8
    assert event["perClass"][0] == {"label": "a", "precision": 0.75, "recall": 1.0, "f1": 6 / 7, "rows": 3}
    assert event["confusion"] == [
        {"true": 0, "predicted": 0, "rows": 3},
        {"true": 1, "predicted": 0, "rows": 1},
        {"true": 1, "predicted": 1, "rows": 4},
    ]


def test_only_an_evaluation_with_intervals_tells_them() -> None:
    events = [event for event in read(classification(total=9)) if event["type"] == "evaluation"]
    assert ["intervals" in event for event in events] == [False, False, False, True]
    assert events[-1]["intervals"]["accuracy"] == [*classification(total=9).evaluations[-1].intervals["accuracy"]]


def test_slices_are_told_with_their_metrics() -> None:
    slices = (SliceRecord("german", 118, {"loss": math.nan}),)
    event, _ = read(run(job(), evaluations=(EvaluationRecord("test", 1, 1.0, {"loss": 0.5}, slices=slices),)))
    assert event["slices"] == [{"name": "german", "rows": 118, "metrics": {"loss": None}, "intervals": {}}]


def test_no_text_of_the_data_is_told() -> None:
    worst = (WorstRow(3, 2.5, "a secret"),)
    event, _ = read(run(job(), evaluations=(EvaluationRecord("test", 1, 1.0, {"loss": 0.5}, worst=worst),)))
    assert "secret" not in json.dumps(event)
    assert "worst" not in event


def test_what_is_not_a_number_is_null() -> None:
    (step,) = steps(1)
    record = run(
        job(),
        steps=(replace(step, loss=math.nan, gradient_norm=math.inf),),
        evaluations=(EvaluationRecord("test", 1, 1.0, {"loss": -math.inf}),),
    )
    events = read(record)
    assert events[0]["loss"] is None
    assert events[0]["gradientNorm"] is None
    assert events[1]["metrics"] == {"loss": None}


@dataclass(frozen=True)
class Spread:
    """Details with a tuple in them."""

    def to_dict(self) -> dict[str, Any]:
        return {"spread": (0.5, math.nan, (math.inf,))}


def test_what_is_not_a_number_is_null_in_tuples_too() -> None:
    event, _ = read(run(job(), evaluations=(EvaluationRecord("test", 1, 1.0, {}, Spread()),)))
    assert event["spread"] == [0.5, None, [None]]


def test_a_label_of_any_kind_comes_back_as_it_was(tmp_path: Path) -> None:
    labels = ("line\nbreak \u2028", "日本語 👩‍👩‍👧 \ud800 \x00")
    path = tmp_path / "metrics.jsonl"
    write_metrics(run(job(), evaluations=(evaluation(labels, "test", 1, 1.0, 0.5, ((1, 0), (0, 1))),)), path)
    line, _ = path.read_text(encoding="utf-8").splitlines()
    assert tuple(one["label"] for one in json.loads(line)["perClass"]) == labels


def test_every_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(classification(total=30), path)
    assert path.read_bytes().endswith(b"}\n")
    assert path.read_bytes().count(b"\n") == 30 + 4 + 1


def test_a_run_in_which_nothing_happened_has_its_end_alone() -> None:
    assert [event["type"] for event in read(run(job()))] == ["end"]
