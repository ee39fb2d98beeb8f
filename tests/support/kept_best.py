"""Trainings whose validation losses are made up: what early stopping and `keep: Best` make of them."""

from dataclasses import dataclass, replace
from typing import Any

import torch.distributed as dist

from kubetune_api.job import FineTuneJobSpec, Freeze
from kubetune_trainer.data.prepared import TargetSpace
from kubetune_trainer.methods.full import Full
from kubetune_trainer.model.stored import tensor_digest
from kubetune_trainer.records import EvaluationRecord, TrainingEnd
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
    judged: list[tuple[str, int, bool]]
    """The split and the step of each evaluation, and whether it tells all that a report shows."""
    test_loss: float
    digests: dict[str, str]
    """Of the published tensors; rank 0 only."""


class _Scripted(Loop):
    """Its validation split has the losses of a script, by the step."""

    def _evaluate(
        self, name: str, step: int, space: TargetSpace, *, final: bool = False
    ) -> tuple[EvaluationRecord, TargetSpace]:
        found, settled = super()._evaluate(name, step, space, final=final)
        scripted = {"loss": LOSSES[step // 2 - 1]} if name == "validation" else {}
        return replace(found, metrics={**found.metrics, **scripted}), settled


class _NewToIt(CausalLanguageModel):
    new_head = True  # nothing is evaluated before the training


def stop_in_each(cases: list[Case]) -> dict[Case, tuple[Kept, Kept]]:
    """Each training stopped early, and one that ends with the best step of the other; every rank calls it."""
    return {case: (_train(_stopping(case), case), _train(_ending(case), case)) for case in cases}


def _spec(case: Case, evaluation: dict[str, Any], **training: Any) -> FineTuneJobSpec:
    manifest = case.spec.to_dict()
    # The rate of a step must not depend on how many steps there are.
    manifest["training"] |= {"schedule": {"type": "Constant"}, **training}
    return FineTuneJobSpec.model_validate(manifest | {"evaluation": {"everySteps": 2, **evaluation}})


def _stopping(case: Case) -> FineTuneJobSpec:
    return _spec(case, {"primaryMetric": "validation/loss"}, earlyStopping={"patience": 2})


def _ending(case: Case) -> FineTuneJobSpec:
    return _spec(case, {}, maxSteps=BEST)


def _train(spec: FineTuneJobSpec, case: Case) -> Kept:
    training, workers = spec.training, dist.get_world_size()
    plan = BatchPlan(case.rows, BATCH, case.micro, workers, training.epochs, training.max_steps)
    engine = build_engine(case.model, training, plan, case.resolved(workers), Device("cpu"))
    records: list[Any] = []
    end = _Scripted(engine, _NewToIt(), case.splits, Vocabulary(), spec, plan, PAD, records.append).run()
    digests = {name: tensor_digest(tensor) for name, tensor in Full(Freeze()).tensors(engine)}
    engine.destroy()
    judged = [record for record in records if isinstance(record, EvaluationRecord)]
    told = [(found.split, found.step, bool(found.worst)) for found in judged]
    return Kept(end, told, judged[-1].metrics["loss"], digests)
