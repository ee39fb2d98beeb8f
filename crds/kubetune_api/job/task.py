"""`spec.task`: what the model learns."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kubetune_api.base import ApiModel, Label, Rule


class Task(ApiModel):
    """What the model learns to do."""

    type: Literal["SequenceClassification", "CausalLM"]
    """`SequenceClassification` puts a new softmax head on the model and trains it with cross-entropy on labelled texts.
    `CausalLM` continues a prompt with its completion; the loss counts the completion's tokens only."""
    labels: (
        Annotated[
            list[Label], Field(min_length=2, max_length=1000, json_schema_extra={"x-kubernetes-list-type": "set"})
        ]
        | None
    ) = None
    """The labels of a classification, in the order of the head's outputs. Unset: those found in the training split, in
    sorted order. Set: a row with any other label is an error, unless `dataset.cleaning.dropOtherLabels` drops it."""
    max_length: Annotated[int, Field(ge=8, le=131072)] = 512
    """The longest sequence, in tokens; what is longer is cut, and the report counts how many were. The model's own
    limit applies as well."""

    rules: ClassVar = (
        Rule(
            cel="self.type == 'SequenceClassification' || !has(self.labels)",
            message="only SequenceClassification has labels; remove them, or change task.type",
            holds=lambda task: task.type == "SequenceClassification" or task.labels is None,
            field="labels",
        ),
        Rule(
            # A list of type `set` is judged by the API server without CEL, whose price grows with the square of 1000.
            cel=None,
            message="a label stands twice in the list; name each once",
            holds=lambda task: task.labels is None or len(set(task.labels)) == len(task.labels),
            field="labels",
        ),
    )
