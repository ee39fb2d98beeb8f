"""A training goes on from a checkpoint only where model, data and settings that matter are what they were."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.checkpoint.identity import identity_of, refuse_others
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import DataReport, StoredFile
from kubetune_trainer.resolved import ResolvedTraining
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
    task: str = "CausalLM",
    micro_batch: int = 8,
    parts: Mapping[str, Any] = MappingProxyType({}),
    **training: Any,
) -> dict[str, str]:
    spec = spec_for(task, place, training=training, **parts).resolved
    report = DataReport((StoredFile(place, 1, file),), rows, (), ())
    data = PreparedData({"train": completion_rows(rows)}, Vocabulary(), report)
    files = [StoredFile(f"{place}/model.safetensors", 1, weights)]
    return identity_of(spec, replace(RESOLVED, precision=precision, micro_batch_size=micro_batch), files, data)


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
        (
            lambda: identity(schedule={"warmupSteps": 7}),
            r"spec.training.schedule.warmupSteps differs .* \(it was unset\)",
        ),
        (lambda: identity(optimizer={"beta1": 0.5}), r"spec.training.optimizer.beta1 differs .* \(it was 0.9\)"),
        (lambda: identity(earlyStopping={"patience": 2}), r"spec.training.earlyStopping differs .* \(it was unset\)"),
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
        lambda: identity(microBatchSize=2, micro_batch=2),
        lambda: identity(checkpoints={"everySteps": 7}),
        lambda: identity(activationCheckpointing="Full"),
    ],
    ids=["nothing", "places", "the micro-batch", "when it is saved", "what is computed a second time"],
)
def test_what_does_not_matter_may_differ(other: Callable[[], dict[str, str]]) -> None:
    refuse_others(other(), identity(), 10)


def test_a_field_that_only_one_version_knows_does_not_matter() -> None:
    known = identity()
    refuse_others({**known, "spec.training.newer": "0.0", "spec.training.schedule.newer": "0.0"}, known, 10)
    refuse_others(known, {**known, "spec.training.older": "null", "spec.training.schedule.older": "null"}, 10)


@pytest.mark.parametrize("name", ["spec.training.older", "spec.training.schedule.older"])
def test_a_field_that_was_set_and_that_nothing_knows_now_is_refused(name: str) -> None:
    with pytest.raises(RunError, match=rf"{name} differs .* \(it was 0.5\)"):
        refuse_others(identity(), {**identity(), name: "0.5"}, 10)


def test_a_group_that_was_set_and_is_unset_now_is_refused() -> None:
    with pytest.raises(RunError, match=r"spec.training.earlyStopping differs .* \(it was set\)"):
        refuse_others(identity(), identity(earlyStopping={"patience": 2}), 10)


def test_what_was_is_said_of_no_digest() -> None:
    labels = [f"label-{number}" for number in range(20)]
    then = identity(task="SequenceClassification", parts={"task": {"type": "SequenceClassification", "labels": labels}})
    now = identity(task="SequenceClassification")
    with pytest.raises(RunError, match=r"spec.task.labels differs from that of the checkpoint of step 10: the"):
        refuse_others(now, then, 10)


def test_the_micro_batch_matters_where_its_rows_are_compared() -> None:
    with pytest.raises(RunError, match=r"spec.training.microBatchSize differs .* \(it was 8\)"):
        refuse_others(identity(task="Embedding", micro_batch=4), identity(task="Embedding"), 10)


def test_the_micro_batch_does_not_matter_to_pairs_with_scores() -> None:
    columns = {name: name for name in ("sentence1", "sentence2", "score")}
    scored = {"dataset": {"uri": "file:///data.csv", "columns": columns}}
    now = identity(task="Embedding", parts=scored, micro_batch=4)
    refuse_others(now, identity(task="Embedding", parts=scored), 10)
