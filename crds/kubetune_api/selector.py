"""The selectors that pick objects by their labels."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kubetune_api.base import ApiModel, Rule
from kubetune_api.object_names import LabelKey, Labels, LabelValue
from kubetune_api.tables import listed

_MUST = {"In": "be", "NotIn": "not be", "Exists": "be there", "DoesNotExist": "not be there"}


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

    def __str__(self) -> str:
        """The requirement in words: "the label tier must be research or production"."""
        return f"the label {self.key} must {_MUST[self.operator]} {listed(self.values, 'or')}".rstrip()


class LabelSelector(ApiModel):
    """Picks objects by their labels, as everywhere in Kubernetes. An empty one picks all."""

    match_labels: Labels = Field({})
    """The labels that an object must have, each with its value."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=16)] = Field([])
    """More that its labels must be; all of it."""

    def unmet(self, labels: Mapping[str, str]) -> list[LabelRequirement]:
        """What the labels of an object must be and are not."""
        same = [LabelRequirement(key=key, operator="In", values=[value]) for key, value in self.match_labels.items()]
        return [each for each in (*same, *self.match_expressions) if not each.holds(labels)]
