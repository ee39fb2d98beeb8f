"""Every example trains on a small cut of its kind of data, with a tiny model in the place of its own."""

import copy
import json
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import yaml
from pyarrow import parquet

from kubetune_api.job import FineTuneJob
from kubetune_api.tasks import TASKS
from servers.hub import Hub, Repository
from support.bases import base, base_of
from support.runs_in_one_process import run_of
from support.sample_rows import LABELS, sample_rows

EXAMPLES = Path(__file__).parents[3] / "examples"
JOBS = {
    f"{path.stem}-{number}" if number else path.stem: job
    for path in sorted(EXAMPLES.glob("*.yaml"))
    for number, job in enumerate(
        each for each in yaml.safe_load_all(path.read_text("utf-8")) if each["kind"] == "FineTuneJob"
    )
}
ROWS, STEPS = 40, 3


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
@pytest.mark.parametrize("name", JOBS)
def test_an_example_trains_and_publishes_on_a_small_cut(name: str, tmp_path: Path) -> None:
    published = run_of(FineTuneJob.model_validate(_cut(copy.deepcopy(JOBS[name]), tmp_path)), tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://")).parent
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sum("learningRate" in step for step in steps) == STEPS
    assert f"test/{TASKS[JOBS[name]['spec']['task']['type']].headline[0]}" in published.metrics


@pytest.mark.filterwarnings("ignore")
def test_mrpc_comes_from_the_hub_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example unchanged, but for its length: pairs, classes named by the files, splits of their own."""
    job = copy.deepcopy(JOBS["mrpc"])
    spec = job["spec"]
    model = base("bert", tmp_path / "bert")
    hub = Hub(
        repositories={
            "google-bert/bert-base-uncased": Repository(
                {path.name: path.read_bytes() for path in model.iterdir()}, commit=spec["model"]["revision"]
            ),
            "datasets/nyu-mll/glue": Repository(
                {
                    f"mrpc/{split}-00000-of-00001.parquet": _mrpc(rows, first)
                    for split, rows, first in (("train", 48, 0), ("validation", 16, 48), ("test", 16, 64))
                },
                commit=spec["dataset"]["revision"],
            ),
        }
    )
    spec["training"]["epochs"] = 1
    del spec["evaluation"]
    spec["output"] = {"uri": (tmp_path / "out").as_uri()}
    hub.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    try:
        published = run_of(FineTuneJob.model_validate(job), tmp_path)
    finally:
        hub.stop()
    config = json.loads((Path(published.artifact.uri.removeprefix("file://")) / "config.json").read_text())
    assert config["id2label"] == {"0": "not_equivalent", "1": "equivalent"}
    assert {"validation/accuracy", "test/accuracy"} < published.metrics.keys()


def _mrpc(rows: int, first: int) -> bytes:
    """A file of the hub's schema, with its classes in the metadata as `datasets` writes them."""
    features = {
        "sentence1": {"dtype": "string", "_type": "Value"},
        "sentence2": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["not_equivalent", "equivalent"], "_type": "ClassLabel"},
        "idx": {"dtype": "int32", "_type": "Value"},
    }
    texts = [row["text"] for row in islice(sample_rows(first + rows), first, None)]
    table = pyarrow.table(
        {
            "sentence1": texts,
            "sentence2": texts[::-1],
            "label": pyarrow.array([number % 2 for number in range(rows)], pyarrow.int64()),
            "idx": pyarrow.array(range(rows), pyarrow.int32()),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def _cut(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    spec = job["spec"]
    task = spec["task"]["type"]
    data = folder / "rows.jsonl"
    columns = spec["dataset"]["columns"]
    rows = sample_rows(ROWS, spec["task"].get("labels", LABELS))
    data.write_text("".join(json.dumps({columns[name]: row[name] for name in columns}) + "\n" for row in rows))
    method = spec.get("method", {})
    if "bottomLayers" in method.get("freeze", {}):
        method["freeze"]["bottomLayers"] = 1
    spec["model"] = {"uri": base_of(task, folder / "base").as_uri()}
    spec["dataset"] = {
        **{name: value for name, value in spec["dataset"].items() if name in ("columns", "cleaning", "stratify")},
        "uri": data.as_uri(),
        "testFraction": 0.2,
        "validationFraction": 0.2,
    }
    spec.setdefault("training", {}).update(maxSteps=STEPS, globalBatchSize=8, microBatchSize=4)
    spec.get("evaluation", {}).pop("require", None)
    spec.pop("profileRef", None)
    spec["output"] = {"uri": (folder / "out").as_uri()}
    return job
