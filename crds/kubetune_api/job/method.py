"""`spec.method`: which weights are trained."""

from typing import Annotated, Literal

from pydantic import Field

from kubetune_api.base import ApiModel


class Freeze(ApiModel):
    """Which parts of the pretrained model stay as they are."""

    embeddings: bool = False
    """Freezes the embeddings. In a decoder whose output layer shares them, the output layer stays as it is too."""
    bottom_layers: Annotated[int, Field(ge=0, le=1000)] = 0
    """Freezes this many transformer layers, counted from the input."""


class Method(ApiModel):
    """Which weights are trained."""

    type: Literal["Full"] = "Full"
    """`Full` trains every weight that is not frozen."""
    freeze: Freeze = Freeze()
    """Which parts stay as they are."""
