"""What DeepSpeed 0.19.8 needs besides the model states: the buckets and copies of its reductions and steps.

Sizes and moments are read from its sources (`runtime/zero/stage_1_and_2.py`, `runtime/zero/stage3.py`,
`runtime/bf16_optimizer.py`, `runtime/engine.py`) under the trainer's configuration.
"""

from dataclasses import dataclass
from math import ceil

from kubetune_planner.states import Precision

BUCKET = 500_000_000
"""The most parameters whose gradients are reduced together, DeepSpeed's own number."""
SUB_GROUP = 1_000_000_000
"""`sub_group_size`: the parameters that stage 3 updates together."""
PREFETCH = 50_000_000
"""`stage3_prefetch_bucket_size`: the parameters that stage 3 gathers ahead of their use."""
REUSE = 500_000_000
"""Half of `stage3_max_reuse_distance`: on the way up and down again, layers nearer to the top stay gathered."""
_FLOAT32 = 4


@dataclass(frozen=True)
class Buffers:
    """Bytes on one worker."""

    in_backward: int
    """While the activations are there."""
    after_backward: int
    """In the last reduction and the optimizer's step, when the activations are gone."""


@dataclass(frozen=True)
class Reduction:
    """How the gradients of a training are summed up."""

    trained: int
    """Parameters that have gradients."""
    largest: int
    """Parameters of the largest matrix."""
    precision: Precision
    """FP16 counts as BF16: at stage 1 another of DeepSpeed's optimizers holds about as much."""
    workers: int
    accumulates: bool
    """Whether a step takes more than one pass."""
    on_gpu: bool

    def buffers(self, stage: int) -> Buffers:
        """The buffers of a stage."""
        if stage <= (0 if self.precision == "FP32" else 1) and (self.workers == 1 or (stage == 0 and not self.on_gpu)):
            return Buffers(0, 0)
        if self.precision != "FP32" and stage <= 1:
            return self._of_both_precisions()
        if stage == 0:
            # The gradients are copied into buckets, which are cut behind the matrix that fills them.
            return Buffers(0, _FLOAT32 * min(self.trained, BUCKET + self.largest))
        if stage == 3:
            return self._of_stage_3()
        return self._of_stages_1_and_2(stage)

    def _of_both_precisions(self) -> Buffers:
        """DeepSpeed's BF16 optimizer reduces copies of 16 bits, made from one more copy where all fits a bucket."""
        return Buffers(0, (2 if self.trained > BUCKET else 6) * self.trained)

    def _of_stages_1_and_2(self, stage: int) -> Buffers:
        # Two buckets where communication overlaps with the backward pass, and a gradient on its way out of one.
        in_backward = (2 if self.on_gpu else 1) * self._bucket + _FLOAT32 * self.largest
        if self.precision != "FP32":
            return Buffers(in_backward + self._copy, 0)
        if self.workers > 1:
            in_backward += self._copy
        share = _FLOAT32 * self._share
        if stage == 1:
            # A gradient moves into the bucket. In the end all of them make room for this worker's share, twice.
            in_the_bucket = _FLOAT32 * bucket_size(self.trained)
            return Buffers(in_backward - in_the_bucket, max(0, 2 * share - _FLOAT32 * self.trained))
        return Buffers(in_backward + (share if self.accumulates else 0), share)

    def _of_stage_3(self) -> Buffers:
        in_backward = self._bucket + self._copy + _FLOAT32 * self.largest
        if self.precision != "FP32":
            in_backward += _FLOAT32 * ceil(bucket_size(self.trained) / self.workers)
        # The bucket stays. The step copies the gradients of one group at a time.
        return Buffers(in_backward, self._bucket + _FLOAT32 * min(self._share, SUB_GROUP))

    @property
    def _copy(self) -> int:
        """The bucket once more, as it is being reduced."""
        return self._bucket

    @property
    def _bucket(self) -> int:
        return self._number * bucket_size(self.trained)

    @property
    def _number(self) -> int:
        return 4 if self.precision == "FP32" else 2

    @property
    def _share(self) -> int:
        return ceil(self.trained / self.workers)


def bucket_size(trained: int) -> int:
    """`reduce_bucket_size` of a training: a bucket takes its memory whole, and none is filled beyond all gradients."""
    return min(BUCKET, trained)


def gathered(parameters: int, largest: int) -> int:
    """The most parameters that stage 3 holds whole at a time."""
    return min(parameters, REUSE + largest + 2 * PREFETCH)
