"""The two systems on the same rows in the same order: kubetune's loop, and `transformers.Trainer`.

Each is run by `run.py` in a process of its own: `peers.py SYSTEM REQUEST.json RESULT.json`.
"""

import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
import torch

from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import read_manifest
from kubetune_api.uris import resolve_relative_uris
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.data.prepared import EncodedSplit, PreparedData
from kubetune_trainer.methods import method_of
from kubetune_trainer.model.load import load_model, load_tokenizer
from kubetune_trainer.records import EvaluationRecord, StepRecord
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.classification import ClassTargets
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import detect
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.training.schedule import sum_of_rates, warmup_steps

Result = dict[str, Any]


def main(system: str, request_file: Path, result_file: Path) -> None:
    """Runs one system as the request says and writes its losses, metrics and speed."""
    request = json.loads(request_file.read_text())
    job = job_of(Path(request["manifest"]), request["overrides"])
    model = Path(request["model"])
    spec, task, tokenizer = job.spec, task_of(job.spec), load_tokenizer(model)
    with TemporaryDirectory() as cache:
        files = {"train": fetch_dataset(spec.dataset.uri, spec.dataset.revision, Path(cache))}
        data = prepare(task, spec, files, tokenizer, spec.max_length)
    plan = BatchPlan(
        rows=data.splits["train"].rows,
        global_batch_size=spec.training.global_batch_size,
        micro_batch_size=spec.training.micro_batch,
        workers=1,
        epochs=spec.training.epochs,
        max_steps=spec.training.max_steps,
    )
    torch.manual_seed(spec.training.seed)
    loaded = load_model(model, spec, task, data.space, tokenizer)
    reach = partial(sum_of_rates, spec.training, plan.total_steps)
    trainable = method_of(spec.method).attach(loaded, precision="FP32", reach=reach)
    run = {"kubetune": kubetune, "trainer": trainer}[system]
    result_file.write_text(json.dumps(run(job, trainable.loaded.model, data, plan, tokenizer)))


def job_of(manifest: Path, overrides: list[str]) -> FineTuneJob:
    """The job of a manifest, resolved; SystemExit with its errors."""
    read = read_manifest(manifest.read_bytes(), str(manifest), overrides=overrides)
    if read.errors:
        raise SystemExit("\n".join(map(str, read.errors)))
    return resolve_relative_uris(read.jobs[0], manifest.resolve().parent).resolved


def kubetune(job: FineTuneJob, model: Any, data: PreparedData, plan: BatchPlan, tokenizer: Any) -> Result:
    """kubetune's loop over a DeepSpeed engine, one worker, stage 0."""
    os.environ.update(LOCAL_RANK="0", DS_ACCELERATOR="cpu")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    task, training = task_of(job.spec), job.spec.training
    resolved = ResolvedTraining(0, "FP32", plan.micro_batch_size, 1, training.peak_learning_rate, job.spec.max_length)
    engine = build_engine(model, training, plan, resolved, detect())
    records: list[StepRecord | EvaluationRecord] = []
    Loop(engine, task, data.splits, data.space, job.spec, plan, tokenizer.pad_token_id, records.append).run()
    steps = [record for record in records if isinstance(record, StepRecord)]
    test = next(record for record in records if isinstance(record, EvaluationRecord) and record.split == "test")
    torch.distributed.destroy_process_group()
    return _result([step.loss for step in steps], test.metrics, steps, sum(step.seconds for step in steps))


def trainer(job: FineTuneJob, model: Any, data: PreparedData, plan: BatchPlan, tokenizer: Any) -> Result:
    """`transformers.Trainer` with the same settings; its batches are padded to their longest row."""
    from torch.utils.data import SequentialSampler
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    class InOrder(Trainer):
        """A Trainer that takes the rows in the order in which they are given."""

        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

        def training_step(self, *arguments: Any, **keywords: Any) -> Any:
            loss = super().training_step(*arguments, **keywords)
            losses.append(float(loss))
            return loss

    losses: list[float] = []
    training = job.spec.training
    order = np.concatenate([np.concatenate(list(plan.global_batches(e, training.seed))) for e in range(plan.epochs)])
    settings = TrainingArguments(
        output_dir=f"{gettempdir()}/unused",
        per_device_train_batch_size=training.global_batch_size,
        per_device_eval_batch_size=training.global_batch_size,
        num_train_epochs=1,
        max_steps=plan.total_steps,
        learning_rate=training.peak_learning_rate,
        weight_decay=training.optimizer.settings["weight_decay"],
        lr_scheduler_type=training.schedule.type.lower(),
        warmup_steps=warmup_steps(training, plan.total_steps),
        max_grad_norm=training.max_gradient_norm,
        optim="adamw_torch_fused",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        seed=training.seed,
        use_cpu=True,
    )
    train, test = data.splits["train"], data.splits["test"]
    peer = InOrder(
        model=model,
        args=settings,
        train_dataset=[_row(train, row) for row in order],
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    seconds = float(peer.train().metrics["train_runtime"])
    predicted = peer.predict([_row(test, row) for row in range(test.rows)])
    metrics = _judged(predicted.predictions, _classes(test))
    lengths = train.lengths
    tokens = int(lengths[order[: plan.total_steps * plan.global_batch_size]].sum())
    return {"losses": losses, "metrics": metrics, "tokens_per_second": tokens / seconds}


def _judged(logits: Any, classes: Any) -> dict[str, float]:
    """What scikit-learn says of two classes, by the names that kubetune has for it."""
    from sklearn.metrics import f1_score, log_loss, matthews_corrcoef, roc_auc_score

    chosen, shares = logits.argmax(-1), torch.from_numpy(logits).double().softmax(-1).numpy()
    return {
        "loss": float(log_loss(classes, shares)),
        "accuracy": float(np.mean(chosen == classes)),
        "f1_macro": float(f1_score(classes, chosen, average="macro")),
        "mcc": float(matthews_corrcoef(classes, chosen)),
        "auc": float(roc_auc_score(classes, shares[:, 1])),
    }


def _row(split: EncodedSplit, row: int) -> dict[str, Any]:
    tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]].tolist()
    return {"input_ids": tokens, "attention_mask": [1] * len(tokens), "labels": int(_classes(split)[row])}


def _classes(split: EncodedSplit) -> Any:
    """[rows]: the index of each row's label."""
    assert isinstance(split.targets, ClassTargets), "the example classifies"
    return split.targets.classes


def _result(losses: list[float], metrics: Mapping[str, float], steps: list[StepRecord], seconds: float) -> Result:
    return {
        "losses": losses,
        "metrics": dict(metrics),
        "tokens_per_second": sum(step.tokens for step in steps) / seconds,
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
