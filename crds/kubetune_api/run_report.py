"""What a run in a cluster tells: the one text that its head may write, in its ConfigMap, and that the operator reads.

The operator takes it as data from an untrusted tenant: bounded, strict, and believed in nothing but the run itself.
"""

from typing import Annotated

from pydantic import Field

from kubetune_api.base import ApiModel
from kubetune_api.data_counts import DataCounts
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.status import CheckpointStatus, FineTuneJobStatus, Progress, Sentence

KEY = "report.json"
"""The key in the ConfigMap."""
MAX_BYTES = 131_072
"""The longest report that is read, in bytes."""


class RunReport(ApiModel):
    """The newest report of one execution."""

    attempt: Annotated[int, Field(ge=1, le=10**15)]
    """The attempt that reports; reports of earlier ones are ignored."""
    execution: Annotated[int, Field(ge=1, le=10**15)] | None = None
    """The execution that it claimed."""
    doing: Sentence | None = None
    """What the run does now, for people."""
    data: DataCounts | None = None
    """What the run read."""
    resolved: ResolvedSettings | None = None
    """How it trains."""
    progress: Progress | None = None
    """How far the training is."""
    checkpoint: CheckpointStatus | None = None
    """Its checkpoints."""
    finished: FineTuneJobStatus | None = None
    """The end of the run, written before the process ends."""
