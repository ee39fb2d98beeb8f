"""Which ZeRO stage and which micro-batch: the cheapest that fit; or what would fit, where nothing does."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from kubetune_api.job import FineTuneJobSpec, Optimizer
from kubetune_api.text import plural
from kubetune_planner.memory import MemoryEstimate, estimate
from kubetune_planner.passes import sequence_length
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision, precision_that_runs

MARGIN = 0.10
"""The share of an accelerator's memory that a plan leaves free: gaps of the allocator, and what the formulas miss."""
MAX_WORKERS = 4096
"""The most workers that a job can ask for."""
LENGTH_STEP = 128
"""The sequence lengths that a refusal proposes are multiples of it, in tokens."""
_NOTHING = (
    "No stage, no number of workers and no sequence length would do by itself; choose a smaller model, or an"
    " accelerator with more memory."
)


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


@dataclass(frozen=True)
class TrainingPlan:
    """How the training is spread, and why."""

    stage: int
    micro_batch_size: int
    precision: Precision
    memory: MemoryEstimate
    candidates: tuple[Candidate, ...]
    """Every stage that was considered, lowest first, with the plan's micro-batch."""
    sentence: str


@dataclass(frozen=True)
class Refusal:
    """The training does not fit."""

    sentence: str
    proposal: str
    """What would fit, in a sentence."""
    candidates: tuple[Candidate, ...]
    """Every stage that was considered, with micro-batches of one."""


def plan(
    spec: FineTuneJobSpec, shape: ModelShape, accelerator: AcceleratorSpec, workers: int
) -> TrainingPlan | Refusal:
    """The lowest stage that fits, with the largest micro-batch that fits there.

    Lower stages communicate less: 0 and 1 once a step, 2 once a micro-batch, and 3 half as much again (ZeRO,
    arXiv:1910.02054, section 7). A micro-batch that the job sets is lowered where it must be and never raised. Neither
    changes the result.
    """
    search = _Search(spec, shape, accelerator, workers)
    found = search.first_fit()
    return search.refuse() if found is None else search.accept(found)


@dataclass(frozen=True)
class _Search:
    """A training, and the memory that it has."""

    spec: FineTuneJobSpec
    shape: ModelShape
    accelerator: AcceleratorSpec
    workers: int

    @property
    def precision(self) -> Precision:
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

    def first_fit(self) -> Candidate | None:
        sizes = ((stage, self.largest_micro_batch(stage)) for stage in self.stages)
        return next((self.try_out(stage, size) for stage, size in sizes if size), None)

    def largest_micro_batch(self, stage: int) -> int:
        """The largest that fits, or 0; where passes are left over, as even a size as makes no more of them."""
        size = bisect_left(range(self.limit), True, key=lambda i: not self.try_out(stage, i + 1).fits)
        if self.compares_rows and size == 1:
            return 0
        return ceil(self.share / ceil(self.share / size)) if 0 < size < self.limit else size

    def try_out(self, stage: int, micro_batch_size: int) -> Candidate:
        wanted = estimate(
            self.shape,
            self.spec,
            stage=stage,
            workers=self.workers,
            micro_batch_size=micro_batch_size,
            precision=self.precision,
        )
        return Candidate(stage, micro_batch_size, wanted, wanted.total <= self.accelerator.usable_bytes)

    def accept(self, chosen: Candidate) -> TrainingPlan:
        lowered = self.asked and chosen.micro_batch_size < self.limit
        effect = "each row is compared with fewer others" if self.compares_rows else "the result is the same"
        note = f" training.microBatchSize {self.limit} does not fit and is lowered; {effect}."
        return TrainingPlan(
            chosen.stage,
            chosen.micro_batch_size,
            self.precision,
            chosen.memory,
            tuple(self.try_out(stage, chosen.micro_batch_size) for stage in self.stages),
            f"{self._of(chosen)}.{note if lowered else ''}",
        )

    def refuse(self) -> Refusal:
        candidates = tuple(self.try_out(stage, 1) for stage in self.stages)
        least = min(candidates, key=lambda candidate: candidate.memory.total)
        return Refusal(
            f"The training does not fit: {self._of(least)}; the largest part: {least.memory.largest}.",
            self._proposal(),
            candidates,
        )

    def _of(self, candidate: Candidate) -> str:
        quantization = self.spec.method.quantization
        stored = f" beside weights in {quantization.type}" if quantization else ""
        usable, memory = gib(self.accelerator.usable_bytes), gib(self.accelerator.memory_bytes)
        return (
            f"ZeRO stage {candidate.stage} with micro-batches of {candidate.micro_batch_size} in {self.precision}"
            f"{stored} on {plural(self.workers, 'worker')} needs {gib(candidate.memory.total)} on each, of the {usable}"
            f" that a plan may fill of {self.accelerator.name} ({memory})"
        )

    def _proposal(self) -> str:
        """What would fit, with as little changed as will do."""
        if self.spec.training.optimizer.row.whole_matrices:
            sharded = Optimizer()
            free = replace(self, spec=_with(_with(self.spec, "zero", stage=None), "training", optimizer=sharded))
            proposal = f"Set training.optimizer.type to {sharded.type}, which ZeRO may shard."
            return proposal if free.first_fit() else _NOTHING
        fixed = self.spec.zero.stage is not None
        free = replace(self, spec=_with(self.spec, "zero", stage=None))
        if fixed and (found := free.first_fit()):
            return f"Leave zero.stage open: stage {found.stage} fits."
        values = [*free._fewest_workers(), *free._longest_sequence()]
        return f"Set {', or '.join(values)}{'; leave zero.stage open' if fixed else ''}." if values else _NOTHING

    def _fewest_workers(self) -> Iterator[str]:
        counts = range(1, MAX_WORKERS + 1)
        found = bisect_left(counts, True, key=lambda count: replace(self, workers=count).first_fit() is not None)
        if found < len(counts):
            yield f"resources.workers to {counts[found]}, the fewest that fit"

    def _longest_sequence(self) -> Iterator[str]:
        lengths = range(LENGTH_STEP, sequence_length(self.shape, self.spec), LENGTH_STEP)
        found = bisect_left(lengths, True, key=lambda length: self._of_length(length).first_fit() is None)
        if found:
            yield f"task.maxLength to {lengths[found - 1]}"

    def _of_length(self, length: int) -> "_Search":
        return replace(self, spec=_with(self.spec, "task", max_length=length))


def _with(spec: FineTuneJobSpec, part: str, **changes: object) -> FineTuneJobSpec:
    return spec.model_copy(update={part: getattr(spec, part).model_copy(update=changes)})


def gib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / (1 << 30):.1f} GiB"
