"""What each Ray Train worker does: model, engine, loop, and on rank 0 the upload of the trained model."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import torch
import torch.distributed as dist

from kubetune_trainer.artifact.publish import upload_folder
from kubetune_trainer.artifact.reopen import stored_shapes
from kubetune_trainer.cores import cores
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.handoff import WorkerInput, WorkerResult
from kubetune_trainer.model.freeze import may_be_unchanged
from kubetune_trainer.model.load import LoadedModel, load_model, load_tokenizer
from kubetune_trainer.model.source import pretrained_model
from kubetune_trainer.prometheus import StepMetrics
from kubetune_trainer.records import EvaluationRecord, StepRecord, StoredFile
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import task_of
from kubetune_trainer.training.device import detect
from kubetune_trainer.training.engine import build_engine, whole_state
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.training.requirements import check_requirements


def train_rank(task: WorkerInput) -> WorkerResult | None:
    """Trains this rank's share. Rank 0 returns the result."""
    spec = task.run.job.spec
    learned = task_of(spec)
    first = dist.get_rank() == 0
    device = detect()
    context = ray.train.get_context()
    torch.set_num_threads(max(1, cores() // context.get_local_world_size()))
    data: PreparedData = ray.get(task.data)
    credentials = StoreCredentials.of(task.run)
    folder = pretrained_model(spec.model, Path(task.cache), task.model_files, credentials).folder
    tokenizer = load_tokenizer(folder)
    # The same seed everywhere: the new head must start from the same weights on every rank.
    torch.manual_seed(spec.training.seed)
    loaded = load_model(folder, spec, learned, data.space, tokenizer)
    torch.manual_seed(spec.training.seed + dist.get_rank())
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    trained = sum(parameter.numel() for parameter in loaded.model.parameters() if parameter.requires_grad)
    engine = build_engine(loaded.model, spec.training, task.plan, stage=task.stage, device=device)
    records: list[StepRecord | EvaluationRecord] = []
    metadata = task.run.job.metadata
    show = StepMetrics(
        namespace=metadata.namespace, name=metadata.name, attempt=task.run.attempt, worker=dist.get_rank()
    )

    def keep(record: StepRecord | EvaluationRecord) -> None:
        records.append(record)
        if isinstance(record, StepRecord):
            show(record)
        if first:
            task.records.put.remote(record)

    Loop(engine, learned, data.splits, data.space, spec.training, task.plan, tokenizer.pad_token_id, keep).run()
    state = whole_state(engine)
    if not first:
        return None
    evaluations = tuple(record for record in records if isinstance(record, EvaluationRecord))
    requirements = check_requirements(
        spec.evaluation.require,
        {f"{record.split}/{name}": value for record in evaluations for name, value in record.metrics.items()},
    )
    shapes, files = _upload(loaded, tokenizer, state, task)
    return WorkerResult(
        family=loaded.model.config.model_type,
        device=torch.cuda.get_device_name() if device.kind == "cuda" else "cpu",
        precision="BF16" if device.bf16(spec.training.precision) else "FP32",
        shapes=shapes,
        frozen=loaded.frozen - loaded.model.all_tied_weights_keys.keys(),
        may_be_unchanged=may_be_unchanged(loaded.model, bf16=device.bf16(spec.training.precision)),
        base_names=loaded.base_names,
        parameters=parameters,
        trained_parameters=trained,
        steps=tuple(record for record in records if isinstance(record, StepRecord)),
        evaluations=evaluations,
        requirements=requirements,
        files=files,
    )


def _upload(
    loaded: LoadedModel, tokenizer: Any, state: dict[str, torch.Tensor], task: WorkerInput
) -> tuple[dict[str, tuple[int, ...]], tuple[StoredFile, ...]]:
    """Writes the model in Hugging Face format to the store; returns the shapes it must have there and its files."""
    shapes = stored_shapes(loaded.model, state)
    with TemporaryDirectory(prefix="kubetune-") as scratch:
        loaded.save(Path(scratch), state)
        tokenizer.save_pretrained(scratch)
        root = task.run.root
        store = Store.open(root, secret=StoreCredentials.of(task.run).opening(root))
        files = upload_folder(Path(scratch), store, f"{task.run.folder}/model")
    return shapes, tuple(files)
