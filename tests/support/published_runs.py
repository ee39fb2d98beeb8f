"""Runs that are published without a training: what those who examine a published model are tried with."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import save_file

from kubetune_api.run import Run
from kubetune_api.status import Artifact
from kubetune_trainer.artifact.attested import attested
from kubetune_trainer.artifact.attested import signing_key as signing_key_of
from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.artifact.publish import claim, commit, upload_folder, write_beside
from kubetune_trainer.artifact.published import read_published
from kubetune_trainer.records import RunRecord
from kubetune_trainer.storage.store import Store
from support.run_records import classification

RECORD = classification(run_id="run-1", execution=1)
WEIGHTS = {"layer.weight": np.ones((4, 3), np.float32), "layer.bias": np.zeros(4, np.float16)}


def write_model(folder: Path) -> None:
    """The least that is a whole model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "tokenizer.json").write_text("{}")
    save_file(WEIGHTS, folder / "model.safetensors")


def published_run(
    uri: str,
    record: RunRecord = RECORD,
    change: Callable[[Path], None] = lambda _: None,
    signing_key: Path | None = None,
) -> Artifact:
    """Publishes a run in the folder `uri` as a training does, its model as `change` leaves it."""
    store = Store.open(uri)
    run = Run(job=record.job, run_id=record.run_id, signing_key=str(signing_key) if signing_key else None)
    run = claim(run, store, "2026-03-02T09:14:07Z")
    with TemporaryDirectory() as scratch:
        write_model(Path(scratch, "model"))
        change(Path(scratch, "model"))
        Path(scratch, "report.html").write_text("a report")
        files = upload_folder(Path(scratch), store, run.folder)
        model = [file for file in files if file.name.startswith(f"{run.folder}/model/")]
        beside = Path(scratch, "beside")
        write_beside(beside, attested(run, record, model, signing_key_of(run)))
        files += upload_folder(beside, store, run.folder)
    data = commit(store, manifest(record, files, folder=run.folder))
    assert data is not None, "it is published already"
    return read_published(run, store, data).artifact
