"""In which evaluations of a training the model writes answers, and which tell all that a report shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.underway import Writing
from support.tiny_models import PAD, completion_rows, spec_for, tiny_model


class Engine:
    """A model that learns nothing, so that its first evaluation is the best."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.module = tiny_model("llama", labels=None).eval()

    def __call__(self, **inputs: Any) -> Any:
        return self.module(**inputs)

    def eval(self) -> None: ...

    def train(self) -> None: ...


class Numbers:
    """Tokens are told as numbers."""

    pad_token_id = PAD

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
        return " ".join(map(str, tokens))


class StepsOfNothing(Loop):
    def _take_step(self, step: int, batch: NDArray[np.int64]) -> None: ...


def told(training: dict[str, Any], metric: str) -> list[tuple[int, bool, bool]]:
    """Of each evaluation its step, whether the model wrote, and whether it tells all."""
    spec = spec_for(
        "CausalLM",
        training={"globalBatchSize": 4, "maxSteps": 3, **training},
        evaluation={"everySteps": 1, "primaryMetric": metric, "generation": {"maxRows": 2, "maxNewTokens": 2}},
    )
    splits, plan = {"train": completion_rows(12), "validation": completion_rows(6)}, BatchPlan(12, 4, 4, 1, 1, 3)
    records: list[Any] = []
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    task, space = CausalLanguageModel(), Vocabulary()
    StepsOfNothing(Engine(), task, splits, space, spec, plan, PAD, records.append, Numbers()).run()
    dist.destroy_process_group()
    judged = [record for record in records if isinstance(record, EvaluationRecord)]
    assert any(isinstance(record, Writing) for record in records)
    return [(one.step, bool(one.written), bool(one.worst)) for one in judged]


@pytest.mark.parametrize(
    ("training", "metric", "evaluations"),
    [
        pytest.param(
            {}, "validation/loss", [(0, True, False), (1, False, False), (2, False, False), (3, True, True)],
            id="the last weights: before and at the end",
        ),
        pytest.param(
            {"keep": "Best"}, "validation/loss",
            [(0, True, False), (1, False, False), (2, False, False), (3, False, False), (1, True, True)],
            id="the best by the loss: once they are known",
        ),
        pytest.param(
            {"keep": "Best"}, "validation/rouge_l",
            [(0, True, False), (1, True, False), (2, True, False), (3, True, False), (1, True, True)],
            id="the best by answers: each time",
        ),
    ],
)  # fmt: skip
def test_a_model_writes_where_its_answers_are_shown_or_decide(
    training: dict[str, Any], metric: str, evaluations: list[tuple[int, bool, bool]]
) -> None:
    assert told(training, metric) == evaluations
