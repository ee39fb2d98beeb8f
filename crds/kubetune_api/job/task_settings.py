"""Settings that one task has alone: a group of `spec.task` for each, named after its task."""

from typing import Annotated, Literal

from pydantic import Field

from kubetune_api.base import ApiModel


class EmbeddingSettings(ApiModel):
    """How texts become vectors, and what brings them together."""

    pooling: Literal["Mean", "CLS"] = "Mean"
    """How the vectors of a text's tokens become one: their mean, or the first one alone."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.05
    """What the cosines are divided by before they are compared, in units of the cosine; 1 / `scale` of
    sentence-transformers. A low one looks at the nearest wrong texts most."""
