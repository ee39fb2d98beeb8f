"""`spec.method`: which weights are trained."""

from typing import Annotated

from pydantic import Field

from kubetune_api.base import ApiModel
from kubetune_api.methods import METHODS
from kubetune_api.tables import OneOf, filled


def _what_they_do() -> str:
    return " ".join(f"`{name}` {method.does}." for name, method in METHODS.items())


class Freeze(ApiModel):
    """Which parts of the pretrained model stay as they are."""

    embeddings: bool = False
    """Freezes the embeddings. In a decoder whose output layer shares them, the output layer stays as it is too."""
    bottom_layers: Annotated[int, Field(ge=0, le=1000)] = 0
    """Freezes this many transformer layers, counted from the input."""


class Method(ApiModel):
    """Which weights are trained."""

    type: Annotated[str, OneOf(METHODS), Field(json_schema_extra=filled(methods=_what_they_do))] = "Full"
    """{methods}"""
    freeze: Freeze = Freeze()
    """Which parts stay as they are."""
