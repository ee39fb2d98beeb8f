"""Settings that one task has alone: a group of `spec.task` for each, named after its task."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kubetune_api.base import ApiModel, Rule

HUBER_DELTA = 1.0
"""Where the errors become large when the manifest does not say, as in torch."""


class RegressionSettings(ApiModel):
    """How the model learns numbers."""

    loss: Literal["MSE", "MAE", "Huber"] = "MSE"
    """What is made small: the squared error (`MSE`, as transformers does), the absolute error (`MAE`), or the squared
    error of small errors and the absolute one of large errors (`Huber`). The last two follow outliers less."""
    huber_delta: Annotated[float | None, Field(gt=0, le=1000000)] = None
    """With `Huber`: the error, in the units of the values, from which on an error is a large one. Unset: 1."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.huberDelta) || self.loss == 'Huber'",
            message="huberDelta belongs to the loss Huber; remove it, or set loss to Huber",
            holds=lambda settings: settings.huber_delta is None or settings.loss == "Huber",
            field="huberDelta",
        ),
    )

    @property
    def delta(self) -> float:
        """The error from which on an error is a large one."""
        return HUBER_DELTA if self.huber_delta is None else self.huber_delta


class EmbeddingSettings(ApiModel):
    """How texts become vectors, and what brings them together."""

    pooling: Literal["Mean", "CLS"] = "Mean"
    """How the vectors of a text's tokens become one: their mean, or the first one alone."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.05
    """What the cosines are divided by before they are compared, in units of the cosine; 1 / `scale` of
    sentence-transformers. A low one looks at the nearest wrong texts most."""
