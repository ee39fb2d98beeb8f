"""What every model of the API shares: camelCase on the wire, no unknown field, no change after parsing.

A cross-field rule is stated once, as a `Rule`: its CEL expression goes into the CRD for the API server, its predicate
judges the same thing here, so `kubetune validate` and `kubectl apply` cannot disagree by neglect.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

GROUP = "kubetune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

# Every string and list has a bound: the API server prices a CEL rule by the largest value it may meet.
Uri = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=256)]


@dataclass(frozen=True)
class Rule:
    """One cross-field rule of a model."""

    cel: str
    """What the API server evaluates; `self` is the object that holds the rule."""
    message: str
    """What the user reads, there and here: the fault and its remedy in one sentence."""
    holds: Callable[[Any], bool]
    """The same judgement over the parsed model."""
    field: str | None = None
    """The field (its name in the manifest) that the fault is reported at; None is the object itself."""


class ApiModel(BaseModel):
    """A part of a manifest."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _judge_rules(self) -> Self:
        broken = [rule for rule in self.rules if not rule.holds(self)]
        if broken:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [
                    InitErrorDetails(
                        type=PydanticCustomError("rule", "{fault}", {"fault": rule.message}),
                        loc=(rule.field,) if rule.field else (),
                        input=getattr(self, _python_name(self, rule.field), None) if rule.field else None,
                    )
                    for rule in broken
                ],
            )
        return self

    def manifest(self) -> dict[str, Any]:
        """The object as it stands in YAML or JSON: camelCase, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _python_name(model: BaseModel, alias: str) -> str:
    return next(name for name, field in type(model).model_fields.items() if field.alias == alias)
