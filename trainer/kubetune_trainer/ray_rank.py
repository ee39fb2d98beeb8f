"""A rank of a group that Ray Train started."""

import os
import platform
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist

from kubetune_api.stopping import StopSign
from kubetune_trainer.cores import threads
from kubetune_trainer.errors import accelerator_named
from kubetune_trainer.handoff import Record, WorkerInput, WorkerResult
from kubetune_trainer.prometheus import StepMetrics
from kubetune_trainer.records import StepRecord
from kubetune_trainer.training.nccl_log import log_to_file, tell_network
from kubetune_trainer.watchdog.beats import Beats, Sender
from kubetune_trainer.watchdog.pulse import PULSE
from kubetune_trainer.worker import train


def train_rank(given: WorkerInput) -> WorkerResult | None:
    """Trains this rank's share. Rank 0 returns the result."""
    torch.set_num_threads(threads(ray.train.get_context().get_local_world_size()))
    outside = Outside(given, StopSign.of_this_pod(), _nccl_log(given))
    with accelerator_named(), Beats(_sender(), given.records.beat.remote, PULSE):
        return train(given, ray.get(given.data), outside.tell, outside.stops)


def _nccl_log(given: WorkerInput) -> Path | None:
    """Of rank 0, where several nodes are connected."""
    if not given.on_gpu or dist.get_rank() or ray.train.get_context().get_local_world_size() == dist.get_world_size():
        return None
    return log_to_file()


def _sender() -> Sender:
    """This process, for whoever has to end it from elsewhere."""
    return Sender(dist.get_rank(), platform.node(), ray.get_runtime_context().get_node_id(), os.getpid())


class Outside:
    """Whom a rank tells of each record: Prometheus, and the driver on rank 0; and what tells it to stop."""

    def __init__(self, given: WorkerInput, sign: StopSign, nccl_log: Path | None = None) -> None:
        self._nccl_log = nccl_log
        self._rank, metadata = dist.get_rank(), given.run.job.metadata
        self._show = StepMetrics(
            namespace=metadata.namespace, name=metadata.name, attempt=given.run.attempt, worker=self._rank
        )
        self._queue, self._sign = given.records, sign
        self._saves, self._waited_for = given.run.job.spec.training.checkpoints is not None, False
        self._answer: Any = None

    def tell(self, record: Record) -> None:
        """Takes the next record."""
        if self._nccl_log:
            tell_network(self._nccl_log)
            self._nccl_log = None
        if isinstance(record, StepRecord):
            self._show(record)
            if self._saves and not self._waited_for:
                # Before the first step there is nothing to save.
                self._sign.awaits_this_process()
                self._waited_for = True
        if self._rank == 0:
            told = self._queue.put.remote(record)
            self._answer = self._answer or told

    def stops(self) -> bool:
        """Whether this rank knows that the training is to stop: its pod ends, or the driver said so. Never waits."""
        return self._sign.is_up or self._driver_says_so()

    def _driver_says_so(self) -> bool:
        if self._answer is None or not ray.wait([self._answer], timeout=0)[0]:
            return False
        answer, self._answer = self._answer, None
        try:
            return bool(ray.get(answer))
        except ray.exceptions.RayError:  # the queue is gone, and with it soon the run
            return False
