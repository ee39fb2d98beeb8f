"""The training loop: fetch, forward, backward, step, record."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from math import isfinite
from time import monotonic
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_api.tasks import TASKS
from kubetune_trainer.data.prepared import EncodedSplit, TargetSpace
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import EvaluationRecord, StepRecord, TrainingEnd
from kubetune_trainer.tasks.base import TrainingTask
from kubetune_trainer.tasks.custom_metrics import CustomMetric
from kubetune_trainer.training.answers import judge_answers
from kubetune_trainer.training.batches import BatchPlan, split_batch
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.custom import Numbered, judge_custom
from kubetune_trainer.training.evaluate import evaluate
from kubetune_trainer.training.forward_time import ForwardTime
from kubetune_trainer.training.going import Checkpoints, Going, NoCheckpoints
from kubetune_trainer.training.joined import joins_rows
from kubetune_trainer.training.kept_weights import KeptWeights
from kubetune_trainer.training.watch import Watch
from kubetune_trainer.training.write import Asking
from kubetune_trainer.underway import EvaluationStart, Spiked, Writing
from kubetune_trainer.watchdog.pulse import MEASURING, PULSE, RESUMING, STEP

Recorder = Callable[[StepRecord | EvaluationStart | Writing | EvaluationRecord | Spiked | TrainingEnd], None]


@dataclass(frozen=True)
class Loop:
    """One run's training over a DeepSpeed engine. Every rank of the group runs the same loop."""

    engine: Any
    task: TrainingTask
    splits: dict[str, EncodedSplit]
    space: TargetSpace
    spec: FineTuneJobSpec
    plan: BatchPlan
    pad_token: int
    record: Recorder
    """Called on every rank with the same records, in order."""
    tokenizer: Any = None
    """Needed where the model writes answers."""
    metrics: Mapping[str, CustomMetric] = field(default_factory=dict)
    """Those of the user's own."""
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)

    def run(self) -> TrainingEnd:
        """Trains to the last step, or until the validation split ends it; then judges the weights that are kept, which
        the engine holds afterwards, on the test split."""
        weights = KeptWeights(self.engine)
        watch = Watch(self.spec, weights, self._of_rank_0)
        going = Going(self.engine, watch, weights)
        PULSE.mark(RESUMING)
        step = done = self.checkpoints.resume(going)
        if not done and not self.task.new_head:
            # A language model knows something before it is trained; a new head knows nothing, and need not be asked.
            self._evaluate_before_training()
        self.engine.train()
        chooses = self.spec.watches_validation
        for step, batch in enumerate(self._batches(done), done + 1):
            self._look_at(step, self._take_step(step, batch), going)
            if "validation" in self.splits and self._is_judged_after(step):
                is_last = step == self.plan.total_steps
                found, space = self._evaluate("validation", step, self.space, final=is_last and not chooses)
                if space is not self.space:
                    going.settled[step] = space
                watch.take(found)
                if watch.ends:
                    break
            if step < self.plan.total_steps:
                self.checkpoints.after(step, going)
        end = TrainingEnd(step, self.plan.total_steps, kept_step=watch.choose(step))
        space = going.settled.get(end.kept_step, self.space)
        if chooses:
            # Which weights are published is known only now, and all else that is told of them costs too much each time.
            self._evaluate("validation", end.kept_step, self.space, final=True)
        if "test" in self.splits:
            self._evaluate("test", end.kept_step, space, final=True)
        if space is not self.space:
            # What the validation split has decided belongs to the model.
            self.task.configure(self.engine.module.config, space)
        self.record(end)
        return end

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return self.splits["train"].lengths

    @cached_property
    def _forward_time(self) -> ForwardTime:
        return ForwardTime(self.engine.device)

    @cached_property
    def _shared_by(self) -> NDArray[np.int64]:
        """By which lengths rows are shared out: by those that are computed."""
        return self._lengths if joins_rows(self.engine.module) else self.splits["train"].longest

    @cached_property
    def _targets(self) -> NDArray[np.int64]:
        split = self.splits["train"]
        return split.targets.per_row(split)

    def _evaluate_before_training(self) -> None:
        for name in self.splits:
            if name != "train":
                self._evaluate(name, 0, self.space)

    def _batches(self, done: int) -> Iterator[NDArray[np.int64]]:
        """The rows of each step behind those that are done."""
        for epoch in range(done // self.plan.steps_per_epoch, self.plan.epochs):
            first = epoch * self.plan.steps_per_epoch
            batches = self.plan.global_batches(epoch, self.spec.training.seed)
            yield from islice(batches, max(0, done - first), max(0, self.plan.total_steps - first))

    def _is_judged_after(self, step: int) -> bool:
        every = self.spec.evaluation.every_steps or self.plan.steps_per_epoch
        return step % every == 0 or step == self.plan.total_steps

    def _take_step(self, step: int, batch: NDArray[np.int64]) -> float:
        """Its loss."""
        PULSE.mark(STEP, step)
        started = monotonic()
        lengths, targets = self._lengths, self._targets
        learning_rate = max(group["lr"] for group in self.engine.optimizer.param_groups)
        loss = self._step(batch, self._shared_by[batch], int(targets[batch].sum()), step)
        self.record(
            StepRecord(
                step=step,
                epoch=step / self.plan.steps_per_epoch,
                loss=loss,
                learning_rate=learning_rate,
                gradient_norm=self._gradient_norm(),
                tokens=int(lengths[batch].sum()),
                seconds=monotonic() - started,
            )
        )
        return loss

    def _look_at(self, step: int, loss: float, going: Going) -> None:
        """RunError (LOSS_SPIKE, ROLLED_BACK), alike on every rank, where the job wants none."""
        watchdog = self.spec.training.watchdog
        usual = going.spikes.take(loss, watchdog.spike_factor)
        if usual is None:
            return
        spiked = Spiked(step, loss, usual)
        if watchdog.on_spike == "Fail":
            raise RunError(
                Reason.LOSS_SPIKE,
                f"{spiked.sentence}; look at the rows of that step, lower spec.training.learningRate, lengthen the"
                " warm-up, or raise spec.training.watchdog.spikeFactor",
            )
        if watchdog.on_spike == "RollBack":
            self.checkpoints.roll_back(spiked, going)
        self.record(spiked)

    def _step(self, batch: NDArray[np.int64], lengths: NDArray[np.int64], targets: int, step: int) -> float:
        """The optimizer step of that number, over a global batch whose rows are shared out by these lengths; returns
        its mean loss per target.

        RunError (NOT_FINITE), alike on every rank and with the weights as they were, where a number is lost.
        """
        mean = self._passes(batch, lengths, targets, step)
        while not isfinite(self._gradient_norm()) and self._has_a_lower_scale():
            # In FP16 nothing may be wrong but the scale of the loss, which DeepSpeed has halved: no batch is left out.
            PULSE.mark(STEP, step)
            mean = self._passes(batch, lengths, targets, step)
        # Gradients that are not finite make every stage leave the weights as they are, without a word.
        self._refuse_what_is_not_finite(self._gradient_norm(), f"the gradients of step {step} are not finite")
        return mean

    def _has_a_lower_scale(self) -> bool:
        """Whether the loss is still scaled up. All ranks have the same scale."""
        return bool(self.engine.fp16_enabled() and self.engine.optimizer.loss_scale > 1)

    def _passes(self, batch: NDArray[np.int64], lengths: NDArray[np.int64], targets: int, step: int) -> float:
        """Forward, backward and the step; the mean loss per target."""
        rank, workers = dist.get_rank(), dist.get_world_size()
        # DeepSpeed divides the gradients by the passes and by the ranks, as if each had seen as many targets; undo
        # both, and divide by the targets of the global batch instead.
        scale = workers * self.plan.accumulation_steps / targets
        total = torch.zeros((), dtype=torch.float64, device=self.engine.device)
        mean = 0.0
        split, passes = self.splits["train"], self.plan.accumulation_steps
        whole = self.plan.micro_batch_size if split.compares_rows else None
        evenly = joins_rows(self.engine.module)
        for number, shares in enumerate(split_batch(batch, lengths, passes, workers, whole, evenly=evenly), 1):
            micro = collate(split, shares[rank], self.pad_token, self.engine.device)
            with self._forward_time.of(micro.inputs["input_ids"].numel()):
                loss = self.task.losses(self.engine, micro, self.space).rows.sum()
            self.engine.backward(loss * scale)
            total += loss.detach()
            if number == passes:
                dist.all_reduce(total)
                mean = float(total) / targets
                self._refuse_what_is_not_finite(mean, f"the loss of step {step} is {mean}")
            self.engine.step()
        self._forward_time.tell(PULSE)
        return mean

    def _gradient_norm(self) -> float:
        norm = self.engine.get_global_grad_norm()
        return float("nan") if norm is None else float(norm)

    def _of_rank_0(self, value: float) -> float:
        told = torch.tensor(value, dtype=torch.float64, device=self.engine.device)
        dist.broadcast(told, src=0)
        return float(told)

    def _refuse_what_is_not_finite(self, value: float, sentence: str) -> None:
        if not isfinite(value):
            less = ", lengthen the warm-up, or set spec.training.precision to FP32"
            short = self.engine.bfloat16_enabled() or self.engine.fp16_enabled()
            remedy = less if short else " or lengthen the warm-up"
            raise RunError(Reason.NOT_FINITE, f"{sentence}; lower spec.training.learningRate{remedy}")

    def _evaluate(
        self, name: str, step: int, space: TargetSpace, *, final: bool = False
    ) -> tuple[EvaluationRecord, TargetSpace]:
        """The evaluation, recorded, and the space with what it has decided for others.

        `final`: it is of the published weights, and the report shows all of it.
        """
        self.record(EvaluationStart(name, step))
        judged = evaluate(
            self.engine,
            self.task,
            self.splits[name],
            space,
            pad_token=self.pad_token,
            micro_batch_size=self.plan.rows_of_any_length,
            final=final,
            compares=final and bool(self.metrics),
        )
        found, rows = judged.record(name, step, step / self.plan.steps_per_epoch), judged.compared
        if self.spec.evaluation.generation is not None and (step == 0 or final or self._is_chosen_by_answers):
            found, rows = self._with_answers(found, final=final)
        if final and self.metrics:
            PULSE.mark(MEASURING)
            found = judge_custom(found, self.metrics, rows, self.splits[name].slices)
        self.record(found)
        return found, judged.measured.settled or space

    def _with_answers(self, found: EvaluationRecord, *, final: bool) -> tuple[EvaluationRecord, Numbered]:
        """With what the model writes to the first rows, which are told, and at the end to the worst ones."""
        wanted = self.spec.evaluation.generation
        assert wanted is not None

        def tell(rows: int, of_rows: int) -> None:
            self.record(Writing(found.split, found.step, rows, of_rows))

        split, size = self.splits[found.split], self.plan.rows_of_any_length
        return judge_answers(
            Asking(self.engine, self.task, split, wanted, self.tokenizer, size, tell), found, final=final
        )

    @property
    def _is_chosen_by_answers(self) -> bool:
        """Whether the validation split chooses by what the model writes."""
        metric = (self.spec.primary_metric or "").rpartition("/")[2]
        return self.spec.watches_validation and metric in TASKS[self.task.name].generated_metrics
