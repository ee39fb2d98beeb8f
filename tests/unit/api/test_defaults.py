"""Values that a manifest leaves out: a group that is left out is an empty one, and what depends on a task, a method or
another type is filled in once, not written into the object.
"""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from kubetune_api.base import ApiModel
from kubetune_api.job import FineTuneJob, FineTuneJobSpec
from kubetune_api.methods import METHODS
from kubetune_api.optimizers import OPTIMIZERS
from kubetune_api.profile import FineTuneProfileSpec
from kubetune_api.schema import fields, structural_schema
from kubetune_api.tasks import TASKS
from support.job_cases import CAUSAL, JOB, edited


def groups(model: type[ApiModel], path: str) -> Iterator[Any]:
    """Every group below a model that has a default, with its path."""
    for field in model.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, ApiModel):
                here = f"{path}.{field.alias}"
                if isinstance(field.default, ApiModel):
                    yield pytest.param(kind, field.default, id=here)
                yield from groups(kind, here)


@pytest.mark.parametrize(
    ("kind", "default"), [*groups(FineTuneJobSpec, "job"), *groups(FineTuneProfileSpec, "profile")]
)
def test_a_group_that_is_left_out_is_an_empty_one(kind: type[ApiModel], default: ApiModel) -> None:
    assert default == kind.model_validate({})


def spec_of(edits: dict[str, Any]) -> FineTuneJobSpec:
    return FineTuneJob.model_validate(edited(edits)).spec


@pytest.mark.parametrize(
    "path", ["spec.task.maxLength", "spec.training.learningRate", *(f"spec.training.optimizer.{name}" for name in (
        "beta1", "beta2", "epsilon", "weightDecay",
    ))],
)  # fmt: skip
def test_what_depends_on_another_field_has_no_default_in_the_schema(path: str) -> None:
    by_path = {".".join(map(str, path)): field for path, field in fields(structural_schema(FineTuneJob))}
    assert "default" not in by_path[path]


@pytest.mark.parametrize("edits", [pytest.param({}, id="labels"), pytest.param(CAUSAL, id="completions")])
def test_what_is_left_out_is_filled_in_by_task_method_and_optimizer(edits: dict[str, Any]) -> None:
    spec = spec_of(edits)
    filled = spec.resolved
    assert (spec.task.max_length, spec.training.learning_rate, spec.training.optimizer.beta1) == (None, None, None)
    assert filled.task.max_length == spec.max_length == TASKS[spec.task.type].max_length
    assert filled.training.peak_learning_rate == METHODS[spec.method.type].learning_rate == 2e-5
    assert filled.training.optimizer.to_dict() == {
        "type": "AdamW", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weightDecay": 0.0,
    }  # fmt: skip
    assert filled.resolved == filled


def test_what_lora_leaves_out_is_filled_in() -> None:
    method = {"type": "LoRA", "lora": {"rank": 8}}
    spec = spec_of({"spec.method": method})
    assert spec.method.lora is not None
    assert (spec.method.lora.alpha, spec.method.lora.targets) == (None, None)
    filled = spec.resolved
    assert filled.training.learning_rate == METHODS["LoRA"].learning_rate == 2e-4
    assert filled.method.lora is not None
    assert filled.method.lora.to_dict() == {
        "rank": 8, "alpha": 16, "dropout": 0.0, "targets": "AllLinear", "variant": "Standard", "publish": "Adapter",
    }  # fmt: skip
    assert filled.resolved == filled
    named = spec_of({"spec.method": {"type": "LoRA", "lora": {"targetModules": ["q_proj"]}}}).resolved.method.lora
    assert named is not None
    assert (named.targets, named.alpha) == (None, 32)
    assert spec_of({"spec.method.type": "LoRA"}).resolved.method.lora is not None


@pytest.mark.parametrize(("method", "rate"), [("Full", 1e-6), ("LoRA", 1e-5)])
def test_a_tasks_own_rate_is_one_for_training_every_weight(method: str, rate: float) -> None:
    assert METHODS[method].rate(TASKS["Preference"].learning_rate) == rate
    columns = {"prompt": "q", "chosen": "a", "rejected": "b"}
    edits = {"spec.task": {"type": "Preference"}, "spec.dataset.columns": columns, "spec.method": {"type": method}}
    assert spec_of(edits).resolved.training.learning_rate == rate


def test_what_the_manifest_says_stays() -> None:
    spec = spec_of({
        "spec.task.maxLength": 64, "spec.training.learningRate": 1e-3, "spec.training.optimizer.beta2": 0.95,
        "spec.training.optimizer.weightDecay": 0,
    })  # fmt: skip
    filled = spec.resolved
    assert (filled.max_length, filled.training.peak_learning_rate) == (64, 1e-3)
    assert filled.training.optimizer.settings == OPTIMIZERS["AdamW"].defaults | {"beta2": 0.95}


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [("AdamW", 2e-5), ("Adam", 2e-5), ("Adafactor", 1e-3), ("Lion", 2e-6), ("Muon", 2e-5), ("SGD", 1e-2)],
)
def test_a_rate_that_is_left_out_suits_the_optimizer(optimizer: str, rate: float) -> None:
    assert spec_of({"spec.training.optimizer": {"type": optimizer}}).resolved.training.learning_rate == rate


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_of_whole_matrices_runs_at_stage_0_in_32_bits(optimizer: str) -> None:
    filled = spec_of({"spec.training.optimizer": {"type": optimizer}}).resolved
    whole = optimizer in ("Adafactor", "Muon")
    assert (filled.zero.stage, filled.training.precision) == ((0, "FP32") if whole else (None, "Auto"))


@pytest.mark.parametrize(
    ("edits", "metric"),
    [
        pytest.param({}, "test/accuracy", id="of the test split"),
        pytest.param({"spec.dataset.testFraction": 0}, "validation/accuracy", id="else of the validation split"),
        pytest.param(CAUSAL, "test/perplexity", id="by the task"),
        pytest.param({"spec.evaluation.primaryMetric": "validation/loss"}, "validation/loss", id="as it is said"),
        pytest.param({"spec.training.keep": "Best"}, "validation/accuracy", id="of the split that chooses"),
        pytest.param(
            {"spec.training.earlyStopping": {"patience": 1}}, "validation/accuracy", id="of the split that stops"
        ),
        pytest.param(
            {"spec.dataset.testFraction": 0, "spec.dataset.validationFraction": 0},
            None,
            id="none without splits",
        ),
    ],
)
def test_the_metric_that_stands_for_the_model(edits: dict[str, Any], metric: str | None) -> None:
    assert spec_of(edits).primary_metric == spec_of(edits).resolved.evaluation.primary_metric == metric


@pytest.mark.parametrize(
    ("training", "kept"),
    [
        pytest.param({}, "Last", id="the last"),
        pytest.param({"earlyStopping": {"patience": 1}}, "Best", id="the best with early stopping"),
        pytest.param({"earlyStopping": {"patience": 1}, "keep": "Last"}, "Last", id="as it is said"),
    ],
)
def test_the_weights_that_are_published(training: dict[str, Any], kept: str) -> None:
    filled = spec_of({f"spec.training.{name}": value for name, value in training.items()}).resolved
    assert filled.training.keep == kept
    FineTuneJobSpec.model_validate(filled.to_dict())  # the report shows it, to be used again


def test_a_rate_is_not_read_before_the_defaults_are_filled_in() -> None:
    with pytest.raises(AssertionError, match="not filled in"):
        _ = FineTuneJob.model_validate(JOB).spec.training.peak_learning_rate
