"""Fields whose values follow from the rows of a table.

The table is read whenever a value is judged. Two keep what they made of it, since that costs more than all else:
`schema.structural_schema` and `base.rules_of`; clear their caches (`cache_clear()`) after adding a row.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from re import fullmatch
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from kubetune_api.base import words


def listed(names: Iterable[str], conjunction: str = "and", *, code: bool = False) -> str:
    """The names as a sentence lists them: "a, b and c"; in backticks where they are `code`."""
    shown = [f"`{name}`" if code else name for name in names]
    return f" {conjunction} ".join(part for part in (", ".join(shown[:-1]), shown[-1] if shown else "") if part)


@dataclass(frozen=True, eq=False)
class OneOf:
    """Marks a text that is a key of the table: `Annotated[str, OneOf(TASKS)]`. Compared by identity, since a table has
    no hash, which a type beside `None` needs."""

    table: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As pydantic asks a marker."""
        return core_schema.no_info_before_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """As pydantic asks a marker."""
        return {**handler(core), "enum": list(self.table)}

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, str) or value not in self.table:
            raise PydanticKnownError("literal_error", {"expected": listed(self.table, "or")})
        return value


@dataclass(frozen=True)
class Matches:
    """Marks a text that fits a pattern made from a table."""

    pattern: Callable[[], str]
    words: Callable[[], str]
    """What the pattern asks for, in words that an error can say."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As pydantic asks a marker."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """As pydantic asks a marker."""
        return {**handler(core), "pattern": self.pattern(), **words(self.words())}

    def _checked(self, value: str) -> str:
        if not fullmatch(self.pattern(), value):
            raise PydanticKnownError("string_pattern_mismatch", {"pattern": self.pattern()})
        return value


def filled(**blanks: Callable[[], str]) -> Callable[[dict[str, Any]], None]:
    """For `Field(json_schema_extra=…)`: fills the blanks of a field's docstring, `{tasks}`, from a table."""

    def fill(schema: dict[str, Any]) -> None:
        schema["description"] = schema["description"].format_map({name: made() for name, made in blanks.items()})

    return fill
