"""Trainings of two ranks whose models are cut into shards of some kilobytes, as driver and workers handle them."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch.distributed as dist

from kubetune_api.job import FineTuneJob
from kubetune_api.run import MODEL, Run
from kubetune_trainer import worker
from kubetune_trainer.artifact import sharded
from kubetune_trainer.artifact.verify import verify
from kubetune_trainer.comparison import FilesChecked
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import LastProgress
from kubetune_trainer.handoff import WorkerResult
from kubetune_trainer.launch import Prepared, begun
from kubetune_trainer.model.load import load_tokenizer
from kubetune_trainer.model.source import pretrained_model
from kubetune_trainer.records import StoredFile
from kubetune_trainer.resolve import Hardware
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import language_model_class, task_of
from support.no_giving_up import no_giving_up
from support.tiny_models import saved, tiny_model
from support.tiny_runs import counting_rows, manifest, write_csv

SMALL = 16_000
"""Bytes of a shard."""


@dataclass(frozen=True)
class ShardedCase:
    """A training of a tiny language model."""

    family: str
    stage: int
    spoils: bool = False
    """Whether a shard changes in the store before it is verified."""
    method: str = "Full"

    @property
    def is_compared(self) -> bool:
        """Whether the same is trained again, for one file."""
        return self.method == "Full" and not self.spoils


@dataclass
class Outcome:
    """What came of it, as one rank saw it."""

    whole: Path
    """The folder of the model in one file."""
    folder: Path
    """The folder of the model in shards."""
    uploaded: list[str] = field(default_factory=list)
    """The shards that this rank has uploaded, by their names."""
    checked: list[str] = field(default_factory=list)
    """Those that it has verified."""
    refused: str = ""
    """Why the driver refuses the model, which rank 0 asks."""


def publish_each(cases: list[ShardedCase], folder: str) -> dict[ShardedCase, Outcome]:
    """Every rank of a group calls it."""
    return {case: _publish(case, Path(folder) / f"{number}") for number, case in enumerate(cases)}


def _publish(case: ShardedCase, here: Path) -> Outcome:
    prepared = [_prepared(case, here, name) for name in ("whole", "sharded")]
    dist.barrier()
    outcome = Outcome(*(Path(one.run.root.removeprefix("file://"), one.run.folder, MODEL) for one in prepared))
    if case.is_compared:
        _train(prepared[0])
    with ExitStack() as stack:
        stack.enter_context(patch.object(sharded, "LARGEST", SMALL))
        _listen(stack, case, outcome)
        result = _train(prepared[1])
    if result is not None:
        outcome.refused = _refusal(prepared[1], result)
    dist.barrier()
    return outcome


def _prepared(case: ShardedCase, here: Path, name: str) -> Prepared:
    """As the driver does it; rank 0 makes the files."""
    folder = here / name
    if dist.get_rank() == 0:
        folder.mkdir(parents=True)
        base = saved(tiny_model(case.family, labels=None), folder / "base")
        rows = write_csv(folder / "rows.csv", ("prompt", "completion"), counting_rows(40))
        settings: dict[str, Any] = {
            "training": {"maxSteps": 2, "globalBatchSize": 8, "learningRate": 0.01},
            "zero": {"stage": case.stage},
            "method": {"type": case.method},
        }
        path = manifest(folder, base, "CausalLM", {"uri": rows}, **settings)
        content = json.loads(path.read_text())
        content["spec"]["output"]["uri"] = (folder / "out").as_uri()
        path.write_text(json.dumps(content))
    dist.barrier()
    job = FineTuneJob.model_validate(json.loads((folder / "job.yaml").read_text())).resolved
    spec, cache = job.spec, folder / "cache"
    base_model = pretrained_model(spec.model, cache, language_model_class())
    files = {"train": fetch_dataset(spec.dataset.uri, spec.dataset.revision, cache)}
    data = prepare(task_of(spec), spec, files, load_tokenizer(base_model.folder), spec.max_length)
    run = Run(job=job, run_id="run-1", workers=dist.get_world_size(), execution=1)
    return Prepared(run, base_model, data, spec.max_length, cache, no_giving_up)


def _train(prepared: Prepared) -> WorkerResult | None:
    given, _ = begun(prepared, Hardware(), LastProgress())
    return worker.train(given, prepared.data, lambda _: None, lambda: False)


def _listen(stack: ExitStack, case: ShardedCase, outcome: Outcome) -> None:
    upload, check = sharded._upload, worker.check

    def noted(tensors: Any, name: str, store: Store, folder: str) -> StoredFile:
        outcome.uploaded.append(name)
        return upload(tensors, name, store, folder)

    def compared(store: Store, files: list[StoredFile], *more: Any) -> FilesChecked:
        outcome.checked += [file.name.rpartition("/")[2] for file in files]
        if case.spoils and dist.get_rank() == 1:
            _spoil(store.local_path(files[0].name))
        return check(store, files, *more)

    stack.enter_context(patch.object(sharded, "_upload", noted))
    stack.enter_context(patch.object(worker, "check", compared))


def _spoil(path: Path | None) -> None:
    assert path is not None
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _refusal(prepared: Prepared, result: WorkerResult) -> str:
    store, run = Store.open(prepared.run.root), prepared.run
    model_class: Callable[..., Any] = task_of(run.job.spec).model_class()
    try:
        verify(
            store,
            f"{run.folder}/{MODEL}",
            result.files,
            result.expected,
            prepared.base.folder,
            model_class,
            checked=result.checked,
        )
    except RunError as error:
        return error.message
    return ""


UNSPOILED = [
    ShardedCase("gpt2", 0),
    ShardedCase("gpt2", 3),
    ShardedCase("mixtral", 3),
    ShardedCase("llama", 3, method="LoRA"),
]
SPOILED = replace(UNSPOILED[0], spoils=True)
