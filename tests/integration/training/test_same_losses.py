"""The losses of a run do not depend on how it is spread: on the workers, the ZeRO stage, or the micro-batch."""

from functools import cache

import pytest
from processes import run_ranks
from tiny import PAD, classification_rows, completion_rows, spec_for, tiny_model

from kubetune_trainer.records import EvaluationRecord, StepRecord
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine, whole_state
from kubetune_trainer.training.loop import Loop

TOLERANCE = 1e-3
LABELS = ("a", "b", "c")


def train(task: str, stage: int, workers: int, micro: int) -> tuple[list[float], list[float], float]:
    """Losses of the steps, of the evaluations, and the sum of all weights' magnitudes at the end."""
    classifies = task == "SequenceClassification"
    make = classification_rows if classifies else completion_rows
    splits = {"train": make(53), "validation": make(17, seed=1), "test": make(19, seed=2)}
    training = spec_for(
        task,
        training={"globalBatchSize": 10, "learningRate": 5e-3, "weightDecay": 0.1, "epochs": 2,
                  "schedule": {"type": "Cosine", "warmupSteps": 2}, "maxGradientNorm": 0.5},
    ).training  # fmt: skip
    plan = BatchPlan(rows=53, global_batch_size=10, micro_batch_size=micro, workers=workers, epochs=training.epochs)
    model = tiny_model("bert" if classifies else "llama", labels=3 if classifies else None)
    device = Device("cpu", has_bf16=True)
    engine = build_engine(model, training, plan, stage=stage, device=device)
    records: list[StepRecord | EvaluationRecord] = []
    Loop(engine, splits, LABELS if classifies else (), training, plan, PAD, records.append).run()
    state = whole_state(engine)
    return (
        [record.loss for record in records if isinstance(record, StepRecord)],
        [record.metrics["loss"] for record in records if isinstance(record, EvaluationRecord)],
        float(sum(tensor.abs().sum() for tensor in state.values())),
    )


@cache
def reference(task: str) -> tuple[list[float], list[float], float]:
    return run_ranks(train, 1, task, 0, 1, 10)[0]


@pytest.mark.parametrize("task", ["SequenceClassification", "CausalLM"])
@pytest.mark.parametrize(
    ("stage", "workers", "micro"),
    [
        pytest.param(0, 1, 3, id="stage 0, one worker, small micro-batches"),
        pytest.param(0, 2, 4, id="stage 0, two workers"),
        pytest.param(1, 2, 4, id="stage 1, two workers"),
        pytest.param(2, 2, 4, id="stage 2, two workers"),
        pytest.param(3, 2, 4, id="stage 3, two workers"),
        pytest.param(2, 3, 2, id="stage 2, three workers, which 10 is not divisible by"),
    ],
)
def test_losses_are_those_of_one_worker(task: str, stage: int, workers: int, micro: int) -> None:
    steps, evaluations, weights = reference(task)
    assert len(steps) == 12
    assert steps[-1] < steps[0]
    results = run_ranks(train, workers, task, stage, workers, micro)
    for rank in results:
        assert rank[0] == pytest.approx(steps, abs=TOLERANCE)
        assert rank[1] == pytest.approx(evaluations, abs=TOLERANCE)
    assert results[0][2] == pytest.approx(weights, rel=1e-3)
