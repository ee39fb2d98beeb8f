"""Of all ways to train that fit, the simplest of those that are about as fast as the fastest."""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Literal

from kubetune_api.job import FineTuneJobSpec
from kubetune_planner.memory import MemoryEstimate, estimate
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision, precision_that_runs
from kubetune_planner.step_time import Spread, step_seconds

MARGIN = 0.10
"""The share of an accelerator's memory that a plan leaves free: gaps of the allocator, and what the formulas miss."""
WORTH_IT = 0.10
"""By how much shorter a step must be for what is less simple: more stages, or layers that are computed again."""
Checkpointing = Literal["Full", "None"]


@dataclass(frozen=True)
class AcceleratorSpec:
    """What each worker computes on."""

    name: str
    memory_bytes: int
    has_bf16: bool

    @property
    def usable_bytes(self) -> int:
        """The memory that a plan may fill."""
        return int(self.memory_bytes * (1 - MARGIN))


@dataclass(frozen=True)
class Candidate:
    """One stage that was considered."""

    stage: int
    micro_batch_size: int
    memory: MemoryEstimate
    fits: bool
    activation_checkpointing: Checkpointing = "None"
    seconds: float = 0.0
    """Of a step, by `step_time.py`: to compare, not to forecast."""


@dataclass(frozen=True)
class Search:
    """A training, and the memory that it has."""

    spec: FineTuneJobSpec
    shape: ModelShape
    accelerator: AcceleratorSpec
    workers: int
    gpus_per_node: int

    @property
    def precision(self) -> Precision:
        """That which runs."""
        return precision_that_runs(self.spec.training.precision, has_bf16=self.accelerator.has_bf16)

    @property
    def stages(self) -> tuple[int, ...]:
        """The stages to choose from. In 16 bits, 0 and 1 are the same: the one is named that tells what is spread."""
        if self.spec.zero.stage is not None:
            return (self.spec.zero.stage,)
        if self.precision == "FP32":
            stages: tuple[int, ...] = (0, 1, 2, 3)
        else:
            stages = (0, 2, 3) if self.workers == 1 else (1, 2, 3)
        lowest, highest = self.spec.zero.offload.lowest_stage, self.spec.method.highest_stage
        return tuple(stage for stage in stages if lowest <= stage <= highest)

    @property
    def settings(self) -> tuple[Checkpointing, ...]:
        """Of activation checkpointing, that which needs most memory first."""
        wanted = self.spec.training.activation_checkpointing
        return ("None", "Full") if wanted == "Auto" else (wanted,)

    @cached_property
    def specs(self) -> dict[Checkpointing, FineTuneJobSpec]:
        """The job with each of them."""
        return {each: changed(self.spec, "training", activation_checkpointing=each) for each in self.settings}

    @property
    def asked(self) -> bool:
        """Whether the job sets the micro-batch; it is an upper limit then."""
        return self.spec.training.micro_batch_size is not None

    @property
    def share(self) -> int:
        """What one worker takes of a global batch, in examples: a larger micro-batch would stay half empty. Where its
        rows are compared, it is not made smaller for more workers."""
        return ceil(self.spec.training.global_batch_size / (1 if self.compares_rows else self.workers))

    @property
    def compares_rows(self) -> bool:
        """Whether the result depends on the micro-batch."""
        return self.spec.task_row.compares_rows

    @property
    def limit(self) -> int:
        """The largest micro-batch to think of."""
        return min(self.spec.training.micro_batch, self.share) if self.asked else self.share

    def best(self) -> Candidate | None:
        """The simplest of those that are about as fast as the fastest."""
        pairs = [(setting, stage) for setting in self.settings for stage in self.stages]
        sizes = ((setting, stage, self.largest_micro_batch(stage, setting)) for setting, stage in pairs)
        fitting = [self.try_out(stage, size, setting) for setting, stage, size in sizes if size]
        if self.compares_rows or (self.asked and self.spec.zero.stage is not None):
            largest = max((each.micro_batch_size for each in fitting), default=0)
            fitting = [each for each in fitting if each.micro_batch_size == largest]
        fastest = min((each.seconds for each in fitting), default=0.0)
        return next((each for each in fitting if each.seconds * (1 - WORTH_IT) <= fastest), None)

    @property
    def fits(self) -> bool:
        """Whether anything does."""
        return any(self.largest_micro_batch(stage, self.settings[-1]) for stage in self.stages)

    def largest_micro_batch(self, stage: int, setting: Checkpointing) -> int:
        """The largest that fits, or 0; where passes are left over, as even a size as makes no more of them."""
        sizes = range(1, self.limit + 1)
        size = bisect_left(sizes, True, key=lambda size: not self.has_room(self.need(stage, size, setting)))
        if self.compares_rows and size == 1:
            return 0
        return ceil(self.share / ceil(self.share / size)) if 0 < size < self.limit else size

    def need(self, stage: int, micro_batch_size: int, setting: Checkpointing) -> MemoryEstimate:
        """What a worker needs."""
        return estimate(
            self.shape,
            self.specs[setting],
            stage=stage,
            workers=self.workers,
            micro_batch_size=micro_batch_size,
            precision=self.precision,
        )

    def has_room(self, wanted: MemoryEstimate) -> bool:
        """Whether the accelerator has that much."""
        return wanted.total <= self.accelerator.usable_bytes

    def try_out(self, stage: int, micro_batch_size: int, setting: Checkpointing) -> Candidate:
        """What comes of it."""
        wanted = self.need(stage, micro_batch_size, setting)
        spread = Spread(stage, self.workers, micro_batch_size, self.precision, self.gpus_per_node)
        seconds = step_seconds(self.shape, self.specs[setting], spread)
        return Candidate(stage, micro_batch_size, wanted, self.has_room(wanted), setting, seconds)


def changed(spec: FineTuneJobSpec, part: str, **changes: object) -> FineTuneJobSpec:
    """The job with other values of one of its groups."""
    return spec.model_copy(update={part: getattr(spec, part).model_copy(update=changes)})
