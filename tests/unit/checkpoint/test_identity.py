"""A training goes on from a checkpoint only where model, data and settings that matter are what they were."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.checkpoint.identity import identity_of, refuse_others
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import DataReport, ResolvedTraining, StoredFile
from kubetune_trainer.tasks.causal import Vocabulary
from support.tiny_models import completion_rows, spec_for

RESOLVED = ResolvedTraining(0, "FP32", 8, 1, 1e-3, 32)


def identity(
    *,
    precision: Any = "FP32",
    weights: str = "a",
    file: str = "b",
    rows: int = 9,
    place: str = "file:///data.csv",
    **training: Any,
) -> dict[str, str]:
    spec = spec_for("CausalLM", place, training=training).resolved
    report = DataReport((StoredFile(place, 1, file),), rows, (), ())
    data = PreparedData({"train": completion_rows(rows)}, Vocabulary(), report)
    files = [StoredFile(f"{place}/model.safetensors", 1, weights)]
    return identity_of(spec, replace(RESOLVED, precision=precision), files, data)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: identity(weights="c"), "spec.model differs"),
        (lambda: identity(file="c"), "spec.dataset differs"),
        (lambda: identity(rows=8), "the rows of the dataset differs"),
        (lambda: identity(precision="BF16"), "the precision differs"),
        (lambda: identity(learningRate=0.5), r"spec.training.learningRate differs .* step 1,200 \(it was 2e-05\)"),
        (lambda: identity(maxSteps=7), r"spec.training.maxSteps differs .* \(it was unset\)"),
        (lambda: identity(seed=7), r"spec.training.seed differs .* \(it was 0\)"),
    ],
)
def test_what_matters_is_refused_with_its_name(other: Callable[[], dict[str, str]], says: str) -> None:
    with pytest.raises(RunError, match=says) as refused:
        refuse_others(other(), identity(), 1200)
    assert refused.value.reason == Reason.INVALID_MANIFEST


@pytest.mark.parametrize(
    "other",
    [
        identity,
        lambda: identity(place="s3://elsewhere/data.csv"),
        lambda: identity(microBatchSize=2),
        lambda: identity(checkpoints={"everySteps": 7}),
    ],
    ids=["nothing", "places", "the micro-batch", "when it is saved"],
)
def test_what_does_not_matter_may_differ(other: Callable[[], dict[str, str]]) -> None:
    refuse_others(other(), identity(), 10)


def test_a_field_that_only_one_version_knows_does_not_matter() -> None:
    known = identity()
    refuse_others({**known, "spec.training.newer": "0.0"}, known, 10)
    refuse_others(known, {**known, "spec.training.older": "0.0"}, 10)
