"""`spec.evaluation`: what the model must reach."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule
from kubetune_api.metrics import METRICS, SPLITS
from kubetune_api.tables import Matches, filled, listed
from kubetune_api.tasks import TASKS


def _pattern() -> str:
    return f"^({'|'.join(SPLITS)})/({'|'.join(METRICS)})$"


def _words() -> str:
    return f"{listed((f'{split}/' for split in SPLITS), 'or', code=True)}, then {listed(METRICS, 'or')}"


def _of_each_task() -> str:
    return " or ".join(
        f"{', '.join(f'`{metric}`' for metric in task.metrics)} ({name})" for name, task in TASKS.items()
    )


def _headlines() -> str:
    return ", ".join(f"`{task.headline[0]}` ({name})" for name, task in TASKS.items())


_FullName = Annotated[str, StringConstraints(max_length=64), Matches(_pattern, _words)]
MetricName = Annotated[_FullName, Field(json_schema_extra=filled(metrics=_of_each_task))]


class Requirement(ApiModel):
    """A metric that the final model must reach."""

    metric: MetricName
    """The full name of the metric: `validation/` or `test/`, then {metrics}."""
    min: float | None = None
    """The lowest value that is good enough."""
    max: float | None = None
    """The highest value that is good enough."""

    def is_met_by(self, value: float) -> bool:
        """NaN meets nothing."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    rules: ClassVar = (
        Rule(
            cel="has(self.min) || has(self.max)",
            message="a requirement needs `min`, `max` or both; give one",
            holds=lambda requirement: requirement.min is not None or requirement.max is not None,
            field="min",
        ),
        Rule(
            cel="!has(self.min) || !has(self.max) || self.min <= self.max",
            message="no value is at least `min` and at most `max`; swap them",
            holds=lambda requirement: (
                requirement.min is None or requirement.max is None or requirement.min <= requirement.max
            ),
            field="min",
        ),
    )


class Evaluation(ApiModel):
    """How the model is judged."""

    every_steps: Annotated[int, Field(ge=1, le=100000000)] | None = None
    """Evaluates on the validation split after each this many optimizer steps, and after the last one. Unset: after each
    epoch."""
    primary_metric: Annotated[_FullName | None, Field(json_schema_extra=filled(headlines=_headlines))] = None
    """The full name of the metric that stands for the model, in `kubectl get` too. Unset: by the task, {headlines}, of
    the test split; without one, or with `training.earlyStopping` or `training.keep: Best`, of the validation split."""
    require: Annotated[list[Requirement], Field(max_length=16)] = Field([])
    """What the final model must reach for the run to succeed. A model that misses any of them is kept, its
    manifest says `rejected`, and the run ends Failed."""
