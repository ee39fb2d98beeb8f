"""What every model of the API shares: camelCase on the wire, no unknown field, no change after parsing.

A cross-field rule is stated once, as a `Rule`: its CEL expression goes into the CRD for the API server, its predicate
judges the same thing here, so `kubetune validate` and `kubectl apply` cannot disagree by neglect.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, reduce
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

    cel: str | None
    """What the API server evaluates; `self` is the object that holds the rule. None where the schema itself says it."""
    message: str
    """What the user reads, there and here: the error and its remedy in one sentence."""
    holds: Callable[[Any], bool]
    """The same judgement over the parsed model."""
    field: str | None = None
    """The field that the error is reported at, as the manifest names it (`dataset.columns` for one further down);
    None is the object itself."""
    quotes_value: bool = True
    """Whether an error repeats the field's value; False where it may hold a secret."""


def words(what: str) -> dict[str, Any]:
    """What a pattern asks for, in words that an error can say: "40 hexadecimal digits"."""
    return {WORDS_KEY: what}


WORDS_KEY = "x-kubetune-words"
KEYS_KEY = "x-kubetune-keys"
RULES_KEY = "x-kubernetes-validations"
INT_OR_STRING_KEY = "x-kubernetes-int-or-string"


@cache
def rules_of(model: type["ApiModel"]) -> tuple[Rule, ...]:
    """The rules of a model, those included that follow from the rows of a table."""
    return tuple(rule for each in model.rules for rule in ((each,) if isinstance(each, Rule) else each()))


def _with_rules(schema: dict[str, Any], model: type["ApiModel"]) -> None:
    """Puts the rules of a model into its JSON schema, in the form that a CRD wants."""
    rules = [
        {"rule": rule.cel, "message": rule.message} | ({"fieldPath": f".{rule.field}"} if rule.field else {})
        for rule in rules_of(model)
        if rule.cel is not None
    ]
    if rules:
        schema[RULES_KEY] = rules


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
        json_schema_extra=_with_rules,
    )

    rules: ClassVar[tuple[Rule | Callable[[], Iterable[Rule]], ...]] = ()
    """Rules, and functions that make rules from a table's rows."""

    @model_validator(mode="after")
    def _judge_rules(self) -> Self:
        broken = [rule for rule in rules_of(type(self)) if not rule.holds(self)]
        if broken:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [
                    InitErrorDetails(
                        type=PydanticCustomError("rule", "{error}", {"error": rule.message}),
                        loc=tuple(rule.field.split(".")) if rule.field else (),
                        input=reduce(_value_of, rule.field.split("."), self)
                        if rule.field and rule.quotes_value
                        else None,
                    )
                    for rule in broken
                ],
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """The object as it stands in YAML or JSON: camelCase, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _value_of(model: Any, alias: str) -> Any:
    return getattr(model, next(name for name, field in type(model).model_fields.items() if field.alias == alias))
