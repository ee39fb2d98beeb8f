"""Which ZeRO stage and micro-batch, and whether activations are kept: the fastest that fits; or what would fit."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

from kubetune_api.job import NOTHING, FineTuneJobSpec, Offload, Optimizer
from kubetune_api.text import plural
from kubetune_planner.host import HostNeed, gib, host_need
from kubetune_planner.memory import MemoryEstimate
from kubetune_planner.passes import sequence_length
from kubetune_planner.search import MARGIN, AcceleratorSpec, Candidate, Checkpointing, Search, changed
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision
from kubetune_planner.step_time import GPUS_PER_NODE

__all__ = ["MARGIN", "AcceleratorSpec", "Candidate", "Refusal", "TrainingPlan", "gib", "plan"]

MAX_WORKERS = 4096
"""The most workers that a job can ask for."""
LENGTH_STEP = 128
"""The sequence lengths that a refusal proposes are multiples of it, in tokens."""
_OFFLOADS = (
    (Offload(optimizer="CPU"), "zero.offload.optimizer to CPU"),
    (Offload(optimizer="CPU", weights="CPU"), "zero.offload.optimizer and zero.offload.weights to CPU"),
)
"""What may be offloaded, the faster first."""
_NOTHING = (
    "No stage, no number of workers and no sequence length would do by itself; choose a smaller model, or an"
    " accelerator with more memory."
)


@dataclass(frozen=True)
class TrainingPlan:
    """How the training is spread, and why."""

    stage: int
    micro_batch_size: int
    precision: Precision
    memory: MemoryEstimate
    candidates: tuple[Candidate, ...]
    """Every stage that was considered, lowest first, with the plan's micro-batch and its activations."""
    sentence: str
    host: HostNeed
    """What is needed beside the accelerators."""
    activation_checkpointing: Checkpointing = "None"
    reasons: tuple[str, ...] = ()
    """Why this stage and not a lower one, and so on, each in a sentence."""


@dataclass(frozen=True)
class Refusal:
    """The training does not fit."""

    sentence: str
    proposal: str
    """What would fit, in a sentence."""
    candidates: tuple[Candidate, ...]
    """Every stage that was considered, with micro-batches of one."""


def plan(
    spec: FineTuneJobSpec,
    shape: ModelShape,
    accelerator: AcceleratorSpec,
    workers: int,
    gpus_per_node: int | None = None,
    workers_per_pod: int = 1,
) -> TrainingPlan | Refusal:
    """The fastest way that fits: a stage, whether layers are computed again, and the largest micro-batch that fits.

    What is less simple is chosen only where it is faster by `WORTH_IT`, or where nothing simpler fits. A micro-batch
    that the job sets is lowered where it must be and never raised. None of it changes the result, but for tasks that
    compare the rows of a micro-batch: there the largest one counts before the time. Where nothing is said of the nodes,
    each has as many GPUs as usual, or as a pod.
    """
    of_node = gpus_per_node or max(workers_per_pod, GPUS_PER_NODE)
    search = _Verdict(spec, shape, accelerator, workers, of_node)
    found = search.best()
    return search.refuse() if found is None else search.accept(found, workers_per_pod)


@dataclass(frozen=True)
class _Verdict(Search):
    """The search, and what is said of it."""

    def accept(self, chosen: Candidate, workers_per_pod: int) -> TrainingPlan:
        lowered = self.asked and chosen.micro_batch_size < self.limit
        effect = "each row is compared with fewer others" if self.compares_rows else "the result is the same"
        note = f" training.microBatchSize {self.limit} does not fit and is lowered; {effect}."
        size, setting = chosen.micro_batch_size, chosen.activation_checkpointing
        return TrainingPlan(
            chosen.stage,
            size,
            self.precision,
            chosen.memory,
            tuple(self.try_out(stage, size, setting) for stage in self.stages),
            f"{self._of(chosen)}.{note if lowered else ''}",
            host_need(
                self.shape,
                self.spec,
                stage=chosen.stage,
                workers=self.workers,
                precision=self.precision,
                workers_per_pod=workers_per_pod,
            ),
            setting,
            tuple(self._reasons(chosen)),
        )

    def _reasons(self, chosen: Candidate) -> Iterator[str]:
        """What would be simpler, and why it is not done."""
        if chosen.activation_checkpointing == "Full" and "None" in self.settings:
            plain = [stage for stage in self.stages if self.largest_micro_batch(stage, "None")]
            least = 2 if self.compares_rows else 1
            without = min(self.need(stage, least, "None").total for stage in self.stages)
            yield (
                f"Layers are computed again in the backward pass: if not, {self._longer(chosen, plain[0], 'None')}."
                if plain
                else f"Layers are computed again in the backward pass: if not, a micro-batch of {least} would need"
                f" {gib(without)}."
            )
        lower = [stage for stage in self.stages if stage < chosen.stage]
        if lower and self.spec.zero.stage is None:
            below, setting = lower[-1], chosen.activation_checkpointing
            if self.largest_micro_batch(below, setting):
                yield f"Stage {chosen.stage}: at stage {below} {self._longer(chosen, below, setting)}."
            else:
                smallest = gib(self.need(below, 1, setting).total)
                yield f"Stage {chosen.stage}: at stage {below} a micro-batch of 1 would need {smallest}."

    def _longer(self, chosen: Candidate, stage: int, setting: Checkpointing) -> str:
        size = self.largest_micro_batch(stage, setting)
        share = self.try_out(stage, size, setting).seconds / chosen.seconds - 1
        if share <= 0:
            return f"there is only room for micro-batches of {size}"
        return f"there is only room for micro-batches of {size}, and a step would take some {share:.0%} longer"

    def refuse(self) -> Refusal:
        candidates = tuple(self.try_out(stage, 1, self.settings[-1]) for stage in self.stages)
        least = min(candidates, key=lambda candidate: candidate.memory.total)
        return Refusal(
            f"The training does not fit: {self._of(least)}; the largest part: {least.memory.largest}.",
            self._proposal(),
            candidates,
        )

    def _of(self, candidate: Candidate) -> str:
        quantization = self.spec.method.quantization
        stored = f" beside weights in {quantization.type}" if quantization else ""
        again = ", layers computed again," if candidate.activation_checkpointing == "Full" else ""
        usable, memory = gib(self.accelerator.usable_bytes), gib(self.accelerator.memory_bytes)
        return (
            f"ZeRO stage {candidate.stage} with micro-batches of {candidate.micro_batch_size} in {self.precision}"
            f"{stored}{again} on {plural(self.workers, 'worker')} needs {gib(candidate.memory.total)} on each, of the"
            f" {usable} that a plan may fill of {self.accelerator.name} ({memory})"
        )

    def _proposal(self) -> str:
        """What would fit, with as little changed as will do."""
        if self.spec.training.optimizer.row.whole_matrices:
            sharded = Optimizer()
            free = replace(self, spec=changed(changed(self.spec, "zero", stage=None), "training", optimizer=sharded))
            proposal = f"Set training.optimizer.type to {sharded.type}, which ZeRO may shard."
            return proposal if free.fits else _NOTHING
        fixed = self.spec.zero.stage is not None
        free = replace(self, spec=changed(self.spec, "zero", stage=None))
        if fixed and (found := free.best()):
            return f"Leave zero.stage open: stage {found.stage} fits."
        again = replace(free, spec=changed(free.spec, "training", activation_checkpointing="Full"))
        if self.settings == ("None",) and again.fits:
            return "Leave training.activationCheckpointing open: with layers that are computed again it fits."
        values = [*free._fewest_workers(), *free._longest_sequence(), *free._offloaded()]
        return f"Set {', or '.join(values)}{'; leave zero.stage open' if fixed else ''}." if values else _NOTHING

    def _offloaded(self) -> Iterator[str]:
        """The least that main memory would have to take."""
        for offload, said in _OFFLOADS:
            free = replace(self, spec=changed(self.spec, "zero", offload=offload))
            if self.spec.zero.offload == NOTHING and free.stages and free.fits:
                yield f"{said}, which takes time and main memory"
                return

    def _fewest_workers(self) -> Iterator[str]:
        counts = range(1, MAX_WORKERS + 1)
        found = bisect_left(counts, True, key=lambda count: replace(self, workers=count).fits)
        if found < len(counts):
            yield f"resources.workers to {counts[found]}, the fewest that fit"

    def _longest_sequence(self) -> Iterator[str]:
        lengths = range(LENGTH_STEP, sequence_length(self.shape, self.spec), LENGTH_STEP)
        found = bisect_left(lengths, True, key=lambda length: not self._of_length(length).fits)
        if found:
            yield f"task.maxLength to {lengths[found - 1]}"

    def _of_length(self, length: int) -> "_Verdict":
        return replace(self, spec=changed(self.spec, "task", max_length=length))
