"""A task that kubetune does not have, added as docs/extending.md says: a row, an object, and nothing else touched."""

import json
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from kubetune_api.metrics import LOSS
from kubetune_api.tasks import TASKS, TaskRow
from kubetune_trainer.data.encode import encode_texts
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.tokens import Encoded
from kubetune_trainer.data.values import text_of
from kubetune_trainer.tasks import TASK_OBJECTS
from kubetune_trainer.tasks.base import CardText, Losses, Measured, MicroBatch, Tally
from support.more_rows import more_rows
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows, write_csv

MEASURING = TaskRow(
    does="measures a text", noun="a model that measures a text", columns=("text", "label"),
    metrics=(LOSS,), headline=(LOSS,), model="Any", max_length=64, pipeline=("text-classification", "Measuring"),
)  # fmt: skip


class Measure:
    labels = ()


class Numbers:
    def __init__(self, values: list[float]) -> None:
        self.values = np.array(values, dtype=np.float32)

    def per_row(self, split: Any) -> np.ndarray:
        return np.ones(split.rows, dtype=np.int64)

    def padded(self, split: Any, rows: np.ndarray, longest: int) -> np.ndarray:
        return self.values[rows]

    def learned(self, split: Any, row: int, labels: Any) -> str:
        return str(self.values[row])


class Measuring:
    name, new_head, generation = "Measuring", True, None
    stratum = refuse_untaught = fits_head = lambda *_: None
    findings = notes = data_notes = lambda *_: ()
    space = staticmethod(lambda *_: Measure())

    def fields(self, spec: Any) -> tuple[Field, ...]:
        number = Field("label", Column.of(spec, "label"), lambda cell, *_: str(float(cell)), label=True)
        return (Field("text", Column.of(spec, "text"), text_of, measured=True), number)

    def group(self, row: Row) -> str:
        return row["text"]

    def encode(self, rows: list[Row], tokenizer: Any, max_length: int, space: Measure) -> Encoded:
        tokens = encode_texts(rows, tokenizer, max_length)
        return tokens.with_targets(Numbers([float(row["label"]) for row in compress(rows, tokens.kept)]))

    def model_class(self) -> Any:
        return AutoModelForSequenceClassification

    def configure(self, config: Any, space: Measure) -> None:
        config.num_labels = 1

    def losses(self, forward: Any, batch: MicroBatch, space: Any) -> Losses:
        answers, known = forward(**batch.inputs).logits[:, 0].float(), ~batch.targets.isnan()
        return Losses((answers - batch.targets.nan_to_num()) ** 2 * known, known)

    def tally(self, losses: Losses, batch: MicroBatch, space: Measure) -> Tally:
        return {"loss": losses.rows.double().sum(), "rows": losses.outputs.sum()}

    def measure(self, tally: dict[str, np.ndarray], space: Measure) -> Measured:
        return Measured({LOSS: float(tally["loss"] / tally["rows"])})

    def card(self, spec: Any, data: Any) -> CardText:
        return CardText("A model that measures a text", "It guesses.", "AutoModelForSequenceClassification", "")


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_it_learns_is_judged_told_and_published(tmp_path: Path) -> None:
    base, rows = saved(tiny_model("bert", labels=2), tmp_path / "base"), hard_rows(120)
    data = write_csv(tmp_path / "rows.csv", ("text", "label"), [(text, str(len(said))) for text, said in rows])
    with more_rows(TASKS, Measuring=MEASURING), more_rows(TASK_OBJECTS, Measuring=Measuring()):
        job = job_for(
            "Measuring", base, dataset={"uri": data, "columns": {"text": "text", "label": "label"}},
            training={"globalBatchSize": 8, "learningRate": 1e-2, "epochs": 4},
            evaluation={"require": [{"metric": "test/loss", "max": 0.5}]}, output={"uri": (tmp_path / "out").as_uri()},
        )  # fmt: skip
        published = run_of(job, tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://")).parent
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert published.metrics["test/loss"] < 0.5 < steps[0]["loss"]
    assert [requirement.met for requirement in published.requirements] == [True]
    assert "A model that measures a text," in (folder / "README.md").read_text()
    assert "test loss" in (folder / "report.html").read_text()
