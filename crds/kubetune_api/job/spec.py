"""`spec` of a `FineTuneJob`, with the rules that span its parts."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from kubetune_api.base import ApiModel, Rule
from kubetune_api.inherited import InheritedMetadata
from kubetune_api.job.dataset import Dataset
from kubetune_api.job.evaluation import Evaluation
from kubetune_api.job.method import Method
from kubetune_api.job.model import Model
from kubetune_api.job.names import QueueName
from kubetune_api.job.output import Output
from kubetune_api.job.resources import Credentials, ProfileRef, Resources, Retry, Zero
from kubetune_api.job.score_rules import score_rules
from kubetune_api.job.task import Task
from kubetune_api.job.task_rules import (
    column_rules,
    custom_metric_rules,
    generation_rules,
    metric_rules,
    micro_batch_rules,
    smoothing_rules,
)
from kubetune_api.job.training import Checkpoints, Training
from kubetune_api.job.zero_rules import CUTS_WEIGHTS, offload_rules, stage_rules
from kubetune_api.methods import METHODS
from kubetune_api.metrics import SPLITS
from kubetune_api.optimizers import rate_of
from kubetune_api.tasks import TASKS, TaskRow


def _is_there(split: str) -> str:
    return f"has(self.dataset.{split}) || !has(self.dataset.{split}Fraction) || self.dataset.{split}Fraction > 0.0"


def _split_of_each_requirement(split: str) -> Rule:
    other = next(name for name in SPLITS if name != split)
    return Rule(
        cel=f"self.evaluation.require.all(r, !r.metric.startsWith('{split}/') || {_is_there(split)})",
        message=f"a required metric needs the {split} split, and there is none; raise dataset.{split}Fraction, set"
        f" dataset.{split}, or require a {other} metric",
        holds=lambda spec: (
            not any(requirement.metric.startswith(f"{split}/") for requirement in spec.evaluation.require)
            or split in spec.dataset.splits
        ),
        field="evaluation.require",
    )


def _split_of_primary_metric(split: str) -> Rule:
    return Rule(
        cel=f"!has(self.evaluation.primaryMetric) || !self.evaluation.primaryMetric.startsWith('{split}/') ||"
        f" {_is_there(split)}",
        message=f"this metric is of the {split} split, and there is none; raise dataset.{split}Fraction, set"
        f" dataset.{split}, or name a metric of another split",
        holds=lambda spec: (
            not (spec.evaluation.primary_metric or "").startswith(f"{split}/") or split in spec.dataset.splits
        ),
        field="evaluation.primaryMetric",
    )


def _needs_validation(what: str, asked_for: str, holds: Callable[[Any], bool], field: str) -> Rule:
    return Rule(
        cel=f"!({asked_for}) || {_is_there('validation')}",
        message=f"{what} needs the validation split, and there is none; raise dataset.validationFraction, set"
        " dataset.validation, or remove it",
        holds=lambda spec: not holds(spec) or "validation" in spec.dataset.splits,
        field=field,
    )


_STOPS_EARLY = "has(self.training.earlyStopping)"
_KEEPS_BEST = "has(self.training.keep) && self.training.keep == 'Best'"
_validation_rules = (
    _needs_validation(
        "early stopping", _STOPS_EARLY, lambda spec: spec.training.early_stopping is not None, "training.earlyStopping"
    ),
    _needs_validation("keep: Best", _KEEPS_BEST, lambda spec: spec.training.keep == "Best", "training.keep"),
    _needs_validation(
        "everySteps",
        "has(self.evaluation.everySteps)",
        lambda spec: spec.evaluation.every_steps is not None,
        "evaluation.everySteps",
    ),
    Rule(
        cel=f"!({_STOPS_EARLY} || ({_KEEPS_BEST})) || !has(self.evaluation.primaryMetric) ||"
        " !self.evaluation.primaryMetric.startsWith('test/')",
        message="training.earlyStopping and training.keep: Best choose by this metric, and what is chosen by the test"
        " split is not judged by it; name a metric of the validation split, or remove it",
        holds=lambda spec: (
            not spec.watches_validation or not (spec.evaluation.primary_metric or "").startswith("test/")
        ),
        field="evaluation.primaryMetric",
    ),
)


class FineTuneJobSpec(ApiModel):
    """What to train, on what, how, and where the result goes."""

    model: Model
    """The pretrained model to start from."""
    task: Task
    """What the model learns to do."""
    dataset: Dataset
    """The data it learns from."""
    method: Method = Method()
    """Which weights are trained."""
    training: Training = Training()
    """How they are trained."""
    profile_ref: ProfileRef = ProfileRef()
    """The `FineTuneProfile` that says what the job may use."""
    resources: Resources = Resources()
    """What the run may use."""
    zero: Zero = Zero()
    """How the training state is spread over the workers."""
    evaluation: Evaluation = Evaluation()
    """How the model is judged."""
    output: Output
    """Where the result goes."""
    credentials: Annotated[list[Credentials], Field(max_length=16)] = Field([])
    """The Secrets for model, data and output, in a cluster; those of the profile count where none of these fits. A
    local run takes the standard environment variables instead, and says so."""
    inherited_metadata: InheritedMetadata = InheritedMetadata()
    """Labels and annotations for what the job makes in a cluster: RayJobs, pods and ConfigMaps. Only what the profile
    allows."""
    queue_name: QueueName | None = None
    """The Kueue LocalQueue that the job waits in, in a cluster. Unset: it starts at once."""
    priority_class_name: QueueName | None = None
    """The Kueue WorkloadPriorityClass: who goes first in the queue, and who makes room."""
    retry: Retry = Retry()
    """How often a failed attempt is followed by another, in a cluster."""
    suspend: bool = False
    """True ends what runs and frees its hardware, in a cluster; false starts it again. May be changed at any time."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """The longest that the attempts may run, all together, in seconds; what waits in a queue or is suspended does not
    run. Unset: no limit. In a cluster."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] | None = None
    """How long after its end what the job made in the cluster is kept, in seconds; the job itself and its model stay.
    Unset: until the job is deleted. May be changed at any time."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.priorityClassName) || has(self.queueName)",
            message="a priority class only has an effect in a queue; set `queueName`, or remove `priorityClassName`",
            holds=lambda spec: spec.priority_class_name is None or spec.queue_name is not None,
            field="priorityClassName",
        ),
        column_rules,
        Rule(
            cel="!self.dataset.cleaning.dropOtherLabels || has(self.task.labels)",
            message="dataset.cleaning.dropOtherLabels needs task.labels to know which labels to keep; give task.labels",
            holds=lambda spec: not spec.dataset.cleaning.drop_other_labels or spec.task.labels is not None,
            field="dataset.cleaning.dropOtherLabels",
        ),
        metric_rules,
        micro_batch_rules,
        score_rules,
        smoothing_rules,
        generation_rules,
        custom_metric_rules,
        *(_split_of_each_requirement(split) for split in reversed(SPLITS)),
        *(_split_of_primary_metric(split) for split in SPLITS),
        *_validation_rules,
        Rule(
            cel=f"self.evaluation.slices.size() == 0 || {' || '.join(f'({_is_there(split)})' for split in SPLITS)}",
            message="slices are of held-out rows, and there are none; raise dataset.testFraction or"
            " dataset.validationFraction, set dataset.test, or remove the slices",
            holds=lambda spec: not spec.evaluation.slices or len(spec.dataset.splits) > 1,
            field="evaluation.slices",
        ),
        stage_rules,
        offload_rules,
    )

    @property
    def checkpoints_in_a_cluster(self) -> Checkpoints | None:
        """How its training is saved there: as often as it is worth its cost, unless the job says how. None where fewer
        workers, which it allows, could not go on from what is saved."""
        fewer = self.resources.min_workers is not None and self.task_row.compares_rows
        return self.training.checkpoints or (None if fewer else Checkpoints())

    @property
    def watches_validation(self) -> bool:
        """Whether the validation split decides when the run ends, or which weights are published."""
        return self.training.early_stopping is not None or self.training.kept == "Best"

    @property
    def task_row(self) -> TaskRow:
        """What is known of its task, for rows of the shape that its columns give."""
        return TASKS[self.task.type].of_rows(self.dataset.columns)

    @property
    def max_length(self) -> int:
        """The longest sequence, in tokens, the model's own limit aside."""
        return self.task.max_length or TASKS[self.task.type].max_length

    @property
    def sequences_per_row(self) -> int:
        """How many sequences of tokens a row goes through the model as."""
        return sum(getattr(self.dataset.columns, part) is not None for part in TASKS[self.task.type].parts) or 1

    @property
    def primary_metric(self) -> str | None:
        """The full name of the metric that stands for the model; None where no split is held out."""
        splits = ("validation",) if self.watches_validation else reversed(SPLITS)
        split = next((split for split in splits if split in self.dataset.splits), None)
        default = f"{split}/{self.task_row.headline[0]}" if split else None
        return self.evaluation.primary_metric or default

    @property
    def resolved(self) -> Self:
        """The same with every default filled in that depends on a task, a method or another type."""
        optimizer = self.training.optimizer
        usual = METHODS[self.method.type].rate(TASKS[self.task.type].learning_rate)
        default_rate = rate_of(optimizer.type, usual)
        training = {
            "learning_rate": self.training.learning_rate or default_rate,
            "optimizer": optimizer.model_copy(update=optimizer.settings),
            "schedule": self.training.schedule.model_copy(update=self.training.schedule.settings),
            "keep": self.training.kept,
        }
        # Nothing else runs: see the row.
        whole = {"precision": "FP32"} if optimizer.row.whole_matrices else {}
        zero = {"stage": 0} if optimizer.row.whole_matrices else {}
        if self.zero.offload.lowest_stage == CUTS_WEIGHTS:
            zero = {"stage": CUTS_WEIGHTS}
        parts = {
            "evaluation": self.evaluation.model_copy(update={"primary_metric": self.primary_metric}),
            "method": self.method.resolved,
            "task": self.task.model_copy(update={"max_length": self.max_length}),
            "training": self.training.model_copy(update=training | whole),
            "zero": self.zero.model_copy(update=zero),
        }
        return self.model_copy(update=parts)


CLUSTER_FIELDS = (
    "credentials",
    "inherited_metadata",
    "queue_name",
    "priority_class_name",
    "retry",
    "suspend",
    "active_deadline_seconds",
    "ttl_seconds_after_finished",
)
"""The fields of a spec that only the operator uses."""
CHANGEABLE_FIELDS = ("suspend", "ttl_seconds_after_finished")
"""The fields of a spec that may change once the run has started."""
