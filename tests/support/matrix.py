"""Every task with every family that can learn it, by every method, under ZeRO: whole runs of tiny models.

A run here is a product's run: from the manifest to the verified model. Only Ray is not there: the first rank of a group
is driver and worker, the others are workers.
"""

import json
from dataclasses import dataclass
from io import StringIO
from itertools import cycle, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch.distributed as dist
from pydantic.alias_generators import to_camel

from kubetune_api.families import FAMILIES
from kubetune_api.job import FineTuneJob
from kubetune_api.methods import METHODS
from kubetune_api.run import Run
from kubetune_api.tasks import TASKS
from kubetune_trainer import driver
from kubetune_trainer.artifact import stopping
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import JsonLinesListener, Listener
from kubetune_trainer.journal import Journal, journaled
from kubetune_trainer.launch import Prepared, Trained, begun
from kubetune_trainer.resolve import Hardware
from kubetune_trainer.storage.store import Store
from kubetune_trainer.worker import train
from support.bases import base, families_of
from support.runs_in_one_process import executed
from support.sample_rows import sample_rows
from support.tiny_models import job_for

STAGES = (0, 1, 2, 3)
QUANTIZED = "QLoRA"
"""LoRA beside pretrained weights in 4 bits: no method of its own, and none at stage 3."""
WAYS: dict[str, dict[str, Any]] = {method: {"type": method} for method in METHODS} | {
    QUANTIZED: {"type": "LoRA", "quantization": {"type": "NF4"}}
}
WITH_BITS = {
    "SequenceClassification": ("bert", (0,)),
    "MultiLabelClassification": ("bert", (1,)),
    "TokenClassification": ("bert", (2,)),
    "SequenceRegression": ("bert", (0,)),
    "CausalLM": ("llama", (0, 1, 2)),
    "Preference": ("llama", (1,)),
    "Seq2Seq": ("bart", (2,)),
    "Embedding": ("bert", (0,)),
}
"""The family of each task that is run quantized, and at which stages: few, as the layers alone are of another kind."""
ROWS = 24
SPARE_TOKENS = 2
"""Of the three answers that a published model is asked for: writing on to 16 was half of such a run. What comes of a
model that does not end is in `tests/unit/trainer/test_answers_end.py`."""
RAN = "ran"


@dataclass(frozen=True, order=True)
class Entry:
    """One run of the matrix."""

    task: str
    family: str
    method: str
    """One of `WAYS`."""
    stage: int


def entries() -> list[Entry]:
    """Each task with each family that can learn it, with methods and stages in turn; with its first family, every
    method at every stage; and some with quantized weights."""
    found, turns = set(), cycle(product(STAGES, METHODS))
    for task in TASKS:
        first, *others = families_of(task)
        found |= {Entry(task, first, method, stage) for method, stage in product(METHODS, STAGES)}
        for family in others:
            stage, method = next(turns)
            found.add(Entry(task, family, method, stage))
        quantized, stages = WITH_BITS[task]
        found |= {Entry(task, quantized, QUANTIZED, stage) for stage in stages}
    return sorted(found)


def outcomes(wanted: list[Entry]) -> dict[Entry, str]:
    """For each: "ran", or the error that its author would read. Every rank of a group calls it; rank 0 knows them."""
    if dist.get_rank():
        _follow()
        return {}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = _write_rows(folder / "rows.jsonl")
        models = {family: base(family, folder / "models" / family) for family in {entry.family for entry in wanted}}
        try:
            return {
                entry: _outcome(_job(entry, models[entry.family], data, folder / f"out-{number}"), folder)
                for number, entry in enumerate(wanted)
            }
        finally:
            _send(None)


def _outcome(job: FineTuneJob, folder: Path) -> str:
    run = Run(job=job, run_id="run-1", workers=dist.get_world_size())
    try:
        with (
            patch.object(driver, "_group_for", lambda _: _train_together),
            patch.object(stopping, "_SPARE_TOKENS", SPARE_TOKENS),
        ):
            executed(run, JsonLinesListener(StringIO()), folder)
    except RunError as error:
        return str(error)
    return RAN


def _train_together(prepared: Prepared, store: Store, listener: Listener) -> Trained:
    given, _ = begun(prepared, Hardware(), listener)
    _send((given, prepared.data))

    def work(journal: Journal) -> Any:
        return train(given, prepared.data, lambda record: None, lambda: False)

    return Trained(given, journaled(store, prepared.run.folder, listener, work))


def _follow() -> None:
    while (sent := _send(None)) is not None:
        train(*sent, lambda record: None, lambda: False)


def _send(value: Any) -> Any:
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _job(entry: Entry, model: Path, data: str, output: Path) -> FineTuneJob:
    return job_for(
        entry.task,
        model,
        task={"type": entry.task, "maxLength": 32, **_languages(entry.family)},
        dataset={"uri": data, "columns": {to_camel(name): to_camel(name) for name in _columns(entry)}},
        method=WAYS[entry.method],
        training={
            "globalBatchSize": 8, "microBatchSize": 4, "maxSteps": 2, "learningRate": 1e-2, "precision": "FP32",
        },
        zero={"stage": entry.stage},
        output={"uri": output.as_uri()},
    )  # fmt: skip


def _languages(family: str) -> dict[str, Any]:
    named = {"sourceLanguage": "en_XX", "targetLanguage": "de_DE"}
    return {"seq2Seq": named} if FAMILIES[family].languages else {}


def _columns(entry: Entry) -> tuple[str, ...]:
    """The shapes of a task's rows in turn."""
    shapes = TASKS[entry.task].shapes
    return shapes[(entry.stage + [*WAYS].index(entry.method)) % len(shapes)]


def _write_rows(path: Path) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in sample_rows(ROWS)))
    return path.as_uri()
