"""Labels by Kubernetes' rules, and the selectors that pick objects by them."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule, words

LabelKey = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
    ),
    Field(json_schema_extra=words("the key of a label: `name` or `domain/name`, the name at most 63 characters")),
]
LabelValue = Annotated[
    str,
    StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"),
    Field(json_schema_extra=words("the value of a label: at most 63 letters, digits, `-`, `_` and `.`")),
]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]


class LabelRequirement(ApiModel):
    """What the labels of an object must be, in a form that says more than a value for a key."""

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """`In`: the label has one of the values. `NotIn`: it has none of them, or is not there. `Exists` and
    `DoesNotExist` look at the key alone."""
    values: Annotated[list[LabelValue], Field(max_length=64)] = Field([])
    """The values of `In` and `NotIn`; the others have none."""

    rules: ClassVar = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (self.values.size() > 0)",
            message="In and NotIn need `values`, Exists and DoesNotExist have none; add or remove them",
            holds=lambda each: (each.operator in ("In", "NotIn")) == bool(each.values),
            field="values",
        ),
    )

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels meets the requirement."""
        if self.operator in ("In", "NotIn"):
            return (labels.get(self.key) in self.values) == (self.operator == "In")
        return (self.key in labels) == (self.operator == "Exists")


class LabelSelector(ApiModel):
    """Picks objects by their labels, as everywhere in Kubernetes. An empty one picks all."""

    match_labels: Labels = Field({})
    """The labels that an object must have, each with its value."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=16)] = Field([])
    """More that its labels must be; all of it."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is picked."""
        same = all(labels.get(key) == value for key, value in self.match_labels.items())
        return same and all(each.holds(labels) for each in self.match_expressions)
