"""Groups whose field `type` says which of the other fields they may have."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic.alias_generators import to_camel

from kubetune_api.base import Rule
from kubetune_api.tables import listed


def members_of_type(members: Callable[[], Mapping[str, Collection[str]]]) -> Callable[[], Iterator[Rule]]:
    """For the `rules` of a group: a field that is not one of its `type` is refused.

    `members` gives, for each type, the attributes that it has. They must be optional, without a default. An attribute
    that no type names belongs to all.
    """

    def rules() -> Iterator[Rule]:
        by_type = members()
        for attribute in dict.fromkeys(each for of_one in by_type.values() for each in of_one):
            types = [name for name, of_one in by_type.items() if attribute in of_one]
            if len(types) < len(by_type):
                yield _only_of(types, attribute)

    return rules


def with_defaults(group: Any, defaults: Mapping[str, float]) -> dict[str, float]:
    """The settings of a group's type, by attribute: those of the manifest, and the defaults where it does not say."""
    given = {name: getattr(group, name) for name in defaults}
    return {name: defaults[name] if value is None else value for name, value in given.items()}


def _only_of(types: list[str], attribute: str) -> Rule:
    name = to_camel(attribute)
    return Rule(
        cel=f"!has(self.{name}) || self.type in {types}",
        message=f"`{name}` belongs to {listed(types)}; remove it, or change `type`",
        holds=partial(_is_of, types=types, attribute=attribute),
        field=name,
    )


def _is_of(group: Any, types: list[str], attribute: str) -> bool:
    return getattr(group, attribute) is None or group.type in types
