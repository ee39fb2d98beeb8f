"""Trainings of rows that are several sequences, run rank by rank: what they came to."""

from typing import Any

import torch.distributed as dist

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.records import EvaluationRecord, StepRecord
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.tasks import task_of
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.training.reference import with_references
from support.tiny_models import PAD, pair_rows, preference_rows, spec_for, tiny_model

ROWS, BATCH, MICRO, STEPS = 53, 10, 4, 12
Came = tuple[list[float], list[dict[str, float]]]
"""The losses of the steps, and the metrics of the evaluations."""
SPREAD = [(task, stage) for task in ("Embedding", "Preference") for stage in (0, 2, 3)]


def _spec(task: str) -> FineTuneJobSpec:
    training = {
        "globalBatchSize": BATCH, "microBatchSize": MICRO, "learningRate": 5e-3, "epochs": 100, "maxSteps": STEPS,
        "optimizer": {"epsilon": 1e-4},
    }  # fmt: skip
    return spec_for(task, training=training).resolved


def _splits_of(task: str) -> dict[str, EncodedSplit]:
    make: Any = pair_rows if task == "Embedding" else preference_rows
    return {"train": make(ROWS), "validation": make(17, seed=1)}


def train_each(cases: list[tuple[str, int]]) -> list[Came]:
    """Every rank of a group calls it."""
    return [_train(*case) for case in cases]


def _train(name: str, stage: int) -> Came:
    given, splits = _spec(name), _splits_of(name)
    task = task_of(given)
    model = tiny_model("bert", labels=0) if name == "Embedding" else tiny_model("llama", labels=None)
    for tensor, parameter in model.named_parameters():
        parameter.requires_grad_("pooler" not in tensor)
    plan = BatchPlan(ROWS, BATCH, MICRO, dist.get_world_size(), given.training.epochs, STEPS)
    resolved = ResolvedTraining(stage, "FP32", MICRO, plan.workers, given.training.peak_learning_rate, max_length=32)
    engine = build_engine(model, given.training, plan, resolved, Device("cpu"))
    space, records = task.space(given, {}, {}), []
    splits = with_references(
        engine, task, splits, space, plan=plan, seed=given.training.seed, pad_token=PAD, tell=records.append
    )
    Loop(engine, task, splits, space, given, plan, PAD, records.append).run()
    engine.destroy()
    return (
        [record.loss for record in records if isinstance(record, StepRecord)],
        [record.metrics for record in records if isinstance(record, EvaluationRecord)],
    )
