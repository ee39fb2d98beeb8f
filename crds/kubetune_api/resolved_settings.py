"""`status.resolved`: what a manifest left open, as it runs."""

from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel

Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
"""A constant that the schema leaves open: a newer operator may know more of them than the installed CRD."""
MOST = 10**15
"""Every count has a bound: what a tenant's run reports must not be more than the API server takes."""


class ResolvedSettings(ApiModel):
    """What was left open in the manifest and what was chosen, as far as it is known."""

    workers: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """The number of workers (ranks)."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] | None = None
    """The ZeRO stage."""
    precision: Word | None = None
    """The numbers that the model computes with."""
    micro_batch_size: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """What one worker takes through the model at a time, in examples."""
    learning_rate: float | None = None
    """The highest learning rate of the schedule, per optimizer step."""
    max_length: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """The longest sequence, in tokens."""
    activation_checkpointing: Word | None = None
    """Whether layers are computed a second time in the backward pass: `Full` or `None`."""
