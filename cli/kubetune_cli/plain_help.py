"""Help for people: a value is named by what to give, as `FILE`, and a switch by nothing.

typer writes the Python type of everything (`<bool>`, `<list[Path]>`), braces around what must be given, and a
paragraph with the line breaks of the source.
"""

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption


class PlainCommand(TyperCommand):
    """A command with such help."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options."""
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after `Usage: kubetune run`."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help."""
        self.help = re.sub(r"(?<!\n)\n(?!\n)", " ", self.help or "")
        super().format_help(ctx, formatter)


class PlainGroup(TyperGroup):
    """The group of the commands, with such help."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options."""
        return _without_types(super().get_params(ctx))


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        is_option = isinstance(parameter, TyperOption)
        shown = parameter.metavar if is_option and not parameter.is_flag else None
        parameter.display_type_rich = lambda ctx, shown=shown: shown  # noqa: ARG005 - as typer calls it
    return parameters
