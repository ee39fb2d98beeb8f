"""What a manifest may leave open, as it runs."""

from dataclasses import dataclass
from typing import Literal

from kubetune_api.job import NOTHING, Offload
from kubetune_api.resolved_settings import ResolvedSettings


@dataclass(frozen=True)
class ResolvedTraining:
    """Worked out once, before the workers start."""

    stage: int
    """The ZeRO stage."""
    precision: Literal["FP32", "BF16", "FP16"]
    """The numbers that the model computes with."""
    micro_batch_size: int
    """What one worker takes through the model at a time, in examples."""
    workers: int
    learning_rate: float
    """The highest of the schedule, per optimizer step."""
    max_length: int
    """The longest sequence, in tokens."""
    activation_checkpointing: Literal["Full", "None"] = "None"
    """What layers keep for the backward pass: their inputs alone, or all."""
    offload: Offload = NOTHING
    """What lies in the main memory of the nodes."""
    longest_rows: int | None = None
    """How many of the longest rows fit one pass, where the micro-batch counts on shorter ones. Unset: that many."""

    @property
    def settings(self) -> ResolvedSettings:
        """The same as a status and a manifest say it."""
        return ResolvedSettings(
            workers=self.workers,
            zero_stage=self.stage,
            precision=self.precision,
            micro_batch_size=self.micro_batch_size,
            learning_rate=self.learning_rate,
            max_length=self.max_length,
            activation_checkpointing=self.activation_checkpointing,
        )
