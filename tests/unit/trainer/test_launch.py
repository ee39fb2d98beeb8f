"""What is told of a training before it begins."""

import io
import json
from pathlib import Path

from kubetune_api.run import Run
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.events import JsonLinesListener, LastProgress
from kubetune_trainer.launch import Prepared, begun
from kubetune_trainer.model.source import PretrainedModel
from kubetune_trainer.records import DataReport
from kubetune_trainer.resolve import Hardware
from kubetune_trainer.tasks.causal import Vocabulary
from support.no_giving_up import no_giving_up
from support.tiny_models import completion_rows, job_for


def test_how_it_trains_is_told_before_any_row_is_trained_on_so_that_a_lack_of_memory_can_be_judged(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text("{}")
    job = job_for("CausalLM", training={"microBatchSize": 4}).resolved
    data = PreparedData({"train": completion_rows(9)}, Vocabulary(), DataReport((), 9, (), ()))
    run, base = Run(job=job, run_id="run-1", workers=2), PretrainedModel(tmp_path, (), job.spec.model)
    prepared = Prepared(run, base, data, 32, tmp_path, no_giving_up)
    stream = io.StringIO()
    begun(prepared, Hardware(), LastProgress(JsonLinesListener(stream)))
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in told] == ["resolved", "stage"]
    assert told[0]["resolved"] == {
        "workers": 2,
        "zeroStage": 2,
        "precision": "FP32",
        "microBatchSize": 4,
        "learningRate": job.spec.training.learning_rate,
        "maxLength": 32,
        "activationCheckpointing": "None",
    }
