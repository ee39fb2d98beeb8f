"""The training loop: fetch, forward, backward, step, record."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from time import monotonic
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from kubetune_api.job import Training
from kubetune_api.reasons import Reason
from kubetune_trainer.data.prepared import EncodedSplit, TargetSpace
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import EvaluationRecord, EvaluationStart, StepRecord
from kubetune_trainer.tasks.base import TrainingTask
from kubetune_trainer.training.batches import BatchPlan, split_batch
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.evaluate import evaluate

Recorder = Callable[[StepRecord | EvaluationStart | EvaluationRecord], None]


@dataclass(frozen=True)
class Loop:
    """One run's training over a DeepSpeed engine. Every rank of the group runs the same loop."""

    engine: Any
    task: TrainingTask
    splits: dict[str, EncodedSplit]
    space: TargetSpace
    training: Training
    plan: BatchPlan
    pad_token: int
    record: Recorder
    """Called on every rank with the same records, in order."""

    def run(self) -> None:
        """Trains to the last step, judging each epoch on the validation split and the end on the test split."""
        step = 0
        if not self.task.new_head:
            # A language model knows something before it is trained; a new head knows nothing, and need not be asked.
            self._evaluate_before_training()
        while step < self.plan.total_steps:
            step = self._epoch(step)
            if "validation" in self.splits:
                self.record(self._evaluate("validation", step))
        if "test" in self.splits:
            self.record(self._evaluate("test", step))

    def _evaluate_before_training(self) -> None:
        for name in self.splits:
            if name != "train":
                self.record(self._evaluate(name, step=0))

    def _epoch(self, step: int) -> int:
        epoch = step // self.plan.steps_per_epoch
        split = self.splits["train"]
        lengths, targets = split.lengths, split.targets.per_row(split)
        self.engine.train()
        for batch in self._batches_until_the_end(epoch, step):
            started = monotonic()
            learning_rate = self.engine.optimizer.param_groups[0]["lr"]
            step += 1
            loss = self._step(batch, lengths, int(targets[batch].sum()), step)
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
        return step

    def _batches_until_the_end(self, epoch: int, step: int) -> Iterator[NDArray[np.int64]]:
        for i, batch in enumerate(self.plan.global_batches(epoch, self.training.seed)):
            if step + i >= self.plan.total_steps:
                return
            yield batch

    def _step(self, batch: NDArray[np.int64], lengths: NDArray[np.int64], targets: int, step: int) -> float:
        """The optimizer step of that number, over a global batch; returns its mean loss per target.

        RunError (NOT_FINITE), alike on every rank and with the weights as they were, where a number is lost.
        """
        rank, workers = dist.get_rank(), dist.get_world_size()
        # DeepSpeed divides the gradients by the passes and by the ranks, as if each had seen as many targets; undo
        # both, and divide by the targets of the global batch instead.
        scale = workers * self.plan.accumulation_steps / targets
        total = torch.zeros((), dtype=torch.float64, device=self.engine.device)
        mean = 0.0
        for number, shares in enumerate(split_batch(batch, lengths[batch], self.plan.accumulation_steps, workers), 1):
            micro = collate(self.splits["train"], shares[rank], self.pad_token, self.engine.device)
            loss = self.task.losses(self.engine, micro, self.space).rows.sum()
            self.engine.backward(loss * scale)
            total += loss.detach()
            if number == self.plan.accumulation_steps:
                dist.all_reduce(total)
                mean = float(total) / targets
                self._refuse_what_is_not_finite(mean, f"the loss of step {step} is {mean}")
            self.engine.step()
        # Gradients that are not finite make every stage leave the weights as they are, without a word.
        self._refuse_what_is_not_finite(self._gradient_norm(), f"the gradients of step {step} are not finite")
        return mean

    def _gradient_norm(self) -> float:
        norm = self.engine.get_global_grad_norm()
        return float("nan") if norm is None else float(norm)

    def _refuse_what_is_not_finite(self, value: float, sentence: str) -> None:
        if not isfinite(value):
            less = ", lengthen the warm-up, or set spec.training.precision to FP32"
            remedy = less if self.engine.bfloat16_enabled() else " or lengthen the warm-up"
            raise RunError(Reason.NOT_FINITE, f"{sentence}; lower spec.training.learningRate{remedy}")

    def _evaluate(self, name: str, step: int) -> EvaluationRecord:
        self.record(EvaluationStart(name, step))
        measured = evaluate(
            self.engine,
            self.task,
            self.splits[name],
            self.space,
            pad_token=self.pad_token,
            micro_batch_size=self.plan.micro_batch_size,
        )
        return EvaluationRecord(
            name, step, step / self.plan.steps_per_epoch, metrics=measured.metrics, details=measured.details
        )
