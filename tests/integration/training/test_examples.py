"""Every example trains on a small cut of its kind of data, with a tiny model in the place of its own."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubetune_api.job import FineTuneJob
from kubetune_api.tasks import TASKS
from servers.hub import Hub, Repository
from support.bases import base, base_of
from support.hub_files import files_of_the_hub
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
CLASSES = {
    "mrpc": ["not_equivalent", "equivalent"],
    "finance-sentiment": ["0", "1", "2"],
    "student-feedback": ["negative", "neutral", "positive"],
}


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
@pytest.mark.parametrize("name", JOBS)
def test_an_example_trains_and_publishes_on_a_small_cut(name: str, tmp_path: Path) -> None:
    published = run_of(FineTuneJob.model_validate(_cut(copy.deepcopy(JOBS[name]), tmp_path)), tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://")).parent
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sum("learningRate" in step for step in steps) == STEPS
    assert f"test/{TASKS[JOBS[name]['spec']['task']['type']].headline[0]}" in published.metrics


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mrpc", "finance-sentiment", "medical-questions", "student-feedback"])
def test_an_example_of_the_hub_runs_as_it_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unchanged but for its length: models and data by commit, in files and columns as the hub has them."""
    job = copy.deepcopy(JOBS[name])
    spec = job["spec"]
    model = base("bert" if spec["task"]["type"] == "SequenceClassification" else "llama", tmp_path / "base")
    hub = Hub(
        repositories={
            _repository(spec["model"]): Repository(
                {path.name: path.read_bytes() for path in model.iterdir()}, commit=spec["model"]["revision"]
            ),
            _repository(spec["dataset"]): Repository(files_of_the_hub(name), commit=spec["dataset"]["revision"]),
        }
    )
    _shorten(spec, tmp_path)
    hub.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    try:
        published = run_of(FineTuneJob.model_validate(job), tmp_path)
    finally:
        hub.stop()
    folder = Path(published.artifact.uri.removeprefix("file://"))
    config = json.loads((folder / "config.json").read_text())
    if name in CLASSES:
        assert list(config["id2label"].values()) == CLASSES[name]
        assert {"validation/accuracy", "test/accuracy"} < published.metrics.keys()
    else:
        adapter = json.loads((folder / "adapter_config.json").read_text())
        assert (adapter["base_model_name_or_path"], adapter["revision"]) == (
            _repository(spec["model"]), spec["model"]["revision"],
        )  # fmt: skip
        assert {"test/loss", "test/rouge_l"} < published.metrics.keys()


def _repository(source: dict[str, Any]) -> str:
    """`owner/name`, behind `datasets/` where it is one."""
    parts = source["uri"].removeprefix("hf://").split("/")
    return "/".join(parts[: 3 if parts[0] == "datasets" else 2])


def _cut(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    spec = job["spec"]
    task = spec["task"]["type"]
    data = folder / "rows.jsonl"
    columns = spec["dataset"]["columns"]
    slices = spec.get("evaluation", {}).get("slices", [])
    rows = [
        {columns[name]: row[name] for name in columns} | _of_slice(slices, number)
        for number, row in enumerate(sample_rows(ROWS, spec["task"].get("labels", LABELS)))
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    method = spec.get("method", {})
    if "bottomLayers" in method.get("freeze", {}):
        method["freeze"]["bottomLayers"] = 1
    # The tiny model of a language model is a GPT-2, whose layers cannot be quantized.
    model = base("llama", folder / "base") if "quantization" in method else base_of(task, folder / "base")
    spec["model"] = {"uri": model.as_uri()}
    spec["dataset"] = {
        **{name: value for name, value in spec["dataset"].items() if name in ("columns", "cleaning", "stratify")},
        "uri": data.as_uri(),
        "testFraction": 0.2,
        "validationFraction": 0.2,
    }
    spec.setdefault("training", {}).update(globalBatchSize=8, microBatchSize=4)
    spec.pop("profileRef", None)
    _shorten(spec, folder)
    return job


def _shorten(spec: dict[str, Any], folder: Path) -> None:
    """A few steps, and answers of a few tokens, published in the folder; nothing is required of them."""
    spec["training"]["maxSteps"] = STEPS
    evaluation = spec.get("evaluation", {})
    evaluation.pop("require", None)
    if "generation" in evaluation:
        evaluation["generation"] = {"maxRows": 8, "maxNewTokens": 8}
    spec["output"] = {"uri": (folder / "out").as_uri()}


def _of_slice(slices: list[dict[str, Any]], number: int) -> dict[str, str]:
    """The cell that puts a row into one of the slices, each in turn."""
    if not slices:
        return {}
    chosen = slices[number % len(slices)]
    return {chosen["column"]: chosen["values"][0]}
