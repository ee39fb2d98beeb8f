"""`spec.evaluation`: what the model must reach."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule, words

MetricName = Annotated[
    str,
    StringConstraints(
        pattern=r"^(validation|test)/(loss|accuracy|precision_macro|recall_macro|f1_macro|perplexity)$", max_length=64
    ),
    Field(
        json_schema_extra=words(
            "`validation/` or `test/`, then loss, accuracy, precision_macro, recall_macro, f1_macro or perplexity"
        )
    ),
]


class Requirement(ApiModel):
    """A metric that the final model must reach."""

    metric: MetricName
    """The full name of the metric: `validation/` or `test/`, then `loss`, `accuracy`, `precision_macro`,
    `recall_macro`, `f1_macro` (SequenceClassification) or `loss`, `perplexity` (CausalLM)."""
    min: float | None = None
    """The lowest value that is good enough."""
    max: float | None = None
    """The highest value that is good enough."""

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

    require: Annotated[list[Requirement], Field(max_length=16)] = Field([])
    """What the final model must reach for the run to succeed. A model that misses any of them is kept, its
    manifest says `rejected`, and the run ends Failed."""
