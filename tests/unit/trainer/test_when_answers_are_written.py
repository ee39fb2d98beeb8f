"""In which evaluations of a training the model writes answers, and which tell all that a report shows."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.underway import Writing
from support.one_rank import Engine, Numbers, group_of_one
from support.tiny_models import PAD, completion_rows, spec_for, tiny_model


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
    # It learns nothing, so that its first evaluation is the best.
    engine, task, space = Engine(tiny_model("llama", labels=None).eval()), CausalLanguageModel(), Vocabulary()
    with group_of_one():
        StepsOfNothing(engine, task, splits, space, spec, plan, PAD, records.append, Numbers()).run()
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
