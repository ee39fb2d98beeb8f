"""Trainings whose validation losses are made up: what early stopping and `keep: Best` make of them."""

from dataclasses import dataclass, replace
from typing import Any

import torch.distributed as dist

from kubetune_api.job import FineTuneJobSpec, Freeze
from kubetune_trainer.methods.full import Full
from kubetune_trainer.model.stored import tensor_digest
from kubetune_trainer.records import EvaluationRecord, TrainingEnd
from kubetune_trainer.tasks.base import Measured
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop
from support.tiny_models import PAD
from support.training_cases import BATCH, Case

LOSSES = (3.0, 1.0, 2.0, 1.5, 0.5)
"""Of the evaluations, each after two steps."""
BEST, STOPPED = 4, 8
"""With a patience of two; the last loss is never seen."""


@dataclass(frozen=True)
class Kept:
    """What came of a training, as one rank saw it."""

    end: TrainingEnd
    judged: list[tuple[str, int]]
    """The split and the step of each evaluation."""
    test_loss: float
    digests: dict[str, str]
    """Of the published tensors; rank 0 only."""


class _Scripted(CausalLanguageModel):
    new_head = True  # nothing is evaluated before the training

    def __init__(self, losses: tuple[float, ...]) -> None:
        self._losses = list(losses)

    def measure(self, tally: Any, space: Any) -> Measured:
        measured = super().measure(tally, space)
        # The test split comes last, and is judged by its own loss.
        scripted = {"loss": self._losses.pop(0)} if self._losses else {}
        return replace(measured, metrics={**measured.metrics, **scripted})


def stop_in_each(cases: list[Case]) -> dict[Case, tuple[Kept, Kept]]:
    """Each training stopped early, and one that ends with the best step of the other; every rank calls it."""
    return {case: (_train(_stopping(case), case, LOSSES), _train(_ending(case), case, LOSSES[:2])) for case in cases}


def _spec(case: Case, evaluation: dict[str, Any], **training: Any) -> FineTuneJobSpec:
    manifest = case.spec.to_dict()
    # The rate of a step must not depend on how many steps there are.
    manifest["training"] |= {"schedule": {"type": "Constant"}, **training}
    return FineTuneJobSpec.model_validate(manifest | {"evaluation": {"everySteps": 2, **evaluation}})


def _stopping(case: Case) -> FineTuneJobSpec:
    return _spec(case, {"primaryMetric": "validation/loss"}, earlyStopping={"patience": 2})


def _ending(case: Case) -> FineTuneJobSpec:
    return _spec(case, {}, maxSteps=BEST)


def _train(spec: FineTuneJobSpec, case: Case, losses: tuple[float, ...]) -> Kept:
    training, workers = spec.training, dist.get_world_size()
    plan = BatchPlan(case.rows, BATCH, case.micro, workers, training.epochs, training.max_steps)
    engine = build_engine(case.model, training, plan, case.resolved(workers), Device("cpu"))
    records: list[Any] = []
    task = _Scripted(losses[: STOPPED // 2])
    end = Loop(engine, task, case.splits, Vocabulary(), spec, plan, PAD, records.append).run()
    digests = {name: tensor_digest(tensor) for name, tensor in Full(Freeze()).tensors(engine)}
    engine.destroy()
    judged = [record for record in records if isinstance(record, EvaluationRecord)]
    return Kept(end, [(found.split, found.step) for found in judged], judged[-1].metrics["loss"], digests)
