"""Trainings of tiny models, run rank by rank without Ray: what they are asked, and what they came to."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch.distributed as dist
from safetensors import safe_open

from kubetune_api.families import FAMILIES
from kubetune_api.job import FineTuneJobSpec, Freeze, Training
from kubetune_planner.states import stage_that_runs
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.methods.freeze import freeze
from kubetune_trainer.methods.full import Full
from kubetune_trainer.records import EvaluationRecord, ResolvedTraining, StepRecord
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.causal import Vocabulary
from kubetune_trainer.tasks.classification import Labels
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop
from support.tiny_models import PAD, classification_rows, completion_rows, spec_for, tiny_model

LABELS = ("a", "b", "c")
BATCH = 10


@dataclass(frozen=True)
class Case:
    """A training, and how it is spread."""

    family: str
    rows: int = 53
    """Not divisible by the batch: the last step of an epoch takes in fewer rows."""
    steps: int = 16
    stage: int = 0
    micro: int = BATCH
    bf16: bool = False
    freeze_embeddings: bool = False

    @property
    def classifies(self) -> bool:
        """Encoders learn to classify, decoders to complete."""
        return not FAMILIES[self.family].decoder

    @property
    def spec(self) -> FineTuneJobSpec:
        """The settings, without any that would hide a difference."""
        return spec_for(
            "SequenceClassification" if self.classifies else "CausalLM",
            training={
                "globalBatchSize": BATCH,
                "microBatchSize": self.micro,
                "learningRate": 2e-2,
                "optimizer": {"weightDecay": 0.1},
                "epochs": 1000,
                "maxSteps": self.steps,
                "schedule": {"type": "Linear", "warmupSteps": 2},
                "maxGradientNorm": 0.3,
                "precision": "BF16" if self.bf16 else "FP32",
            },
        )

    @property
    def training(self) -> Training:
        """How it is trained."""
        return self.spec.training

    @property
    def splits(self) -> dict[str, EncodedSplit]:
        """The rows."""
        make = classification_rows if self.classifies else completion_rows
        return {"train": make(self.rows), "validation": make(17, seed=1), "test": make(19, seed=2)}

    @property
    def model(self) -> Any:
        """The pretrained model, the same weights each time."""
        return tiny_model(self.family, labels=len(LABELS) if self.classifies else None)

    def resolved(self, workers: int) -> ResolvedTraining:
        """How it runs on so many workers."""
        precision = self.training.precision
        assert precision != "Auto"
        return ResolvedTraining(
            stage_that_runs(precision, self.stage),
            precision,
            self.micro,
            workers,
            self.training.peak_learning_rate,
            max_length=32,
        )

    @property
    def alone(self) -> "Case":
        """The same training, spread over nothing."""
        return replace(self, stage=0, micro=BATCH)


BOTH = ("bert", "llama")
TIED = Case("gpt2", micro=4, stage=3, freeze_embeddings=True)
SPREAD = {
    1: [*(Case(family, micro=3) for family in BOTH), Case("llama", stage=3)],
    2: [*(Case(family, micro=4, stage=stage) for family in BOTH for stage in range(4)), TIED],
    3: [Case("bert", micro=2, stage=2), Case("llama", micro=2, stage=3)],
}
"""Trainings that must come to the same as on one worker, by the number of workers."""
BF16 = {1: [Case(family, bf16=True) for family in BOTH], 2: [Case("llama", micro=4, stage=3, bf16=True)]}
"""The same in bfloat16."""
LONG = [Case(family, rows=50, steps=50, micro=4) for family in BOTH]
"""Fifty steps of whole batches, for the comparison with transformers.Trainer."""


@dataclass(frozen=True)
class Trained:
    """What came of it, as one rank saw it."""

    losses: list[float]
    """Of every step."""
    learning_rates: list[float]
    gradient_norms: list[float]
    evaluations: list[dict[str, float]]
    weights: dict[str, np.ndarray]
    """Rank 0 only."""
    written: frozenset[str]
    """The tensors of the saved file; rank 0 only."""


def train_each(cases: list[Case]) -> dict[Case, Trained]:
    """Trains one case after the other; every rank of a group calls it."""
    return {case: _train(case) for case in cases}


def _train(case: Case) -> Trained:
    splits, training, model = case.splits, case.training, case.model
    plan = BatchPlan(
        rows=case.rows,
        global_batch_size=BATCH,
        micro_batch_size=case.micro,
        workers=dist.get_world_size(),
        epochs=training.epochs,
        max_steps=case.steps,
    )
    base = getattr(model, model.base_model_prefix)
    freeze(model, base, FAMILIES[case.family], Freeze(embeddings=case.freeze_embeddings))
    engine = build_engine(model, training, plan, case.resolved(plan.workers), Device("cpu"))
    records: list[StepRecord | EvaluationRecord] = []
    space = Labels(LABELS) if case.classifies else Vocabulary()
    Loop(engine, task_of(case.spec), splits, space, case.spec, plan, PAD, records.append).run()
    state = dict(Full(Freeze()).tensors(engine))
    weights = {name: tensor.float().numpy() for name, tensor in state.items()}
    written = _written(model, state) if state else frozenset()
    engine.destroy()
    steps = [record for record in records if isinstance(record, StepRecord)]
    return Trained(
        losses=[step.loss for step in steps],
        learning_rates=[step.learning_rate for step in steps],
        gradient_norms=[step.gradient_norm for step in steps],
        evaluations=[record.metrics for record in records if isinstance(record, EvaluationRecord)],
        weights=weights,
        written=written,
    )


def _written(model: Any, state: dict[str, Any]) -> frozenset[str]:
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder, state_dict=state)
        with safe_open(Path(folder) / "model.safetensors", framework="pt") as file:
            return frozenset(file.keys())
