"""A rank of a group that Ray Train started."""

import os
import platform
from collections.abc import Callable

import ray
import ray.train
import torch
import torch.distributed as dist

from kubetune_trainer.cores import threads
from kubetune_trainer.errors import accelerator_named
from kubetune_trainer.handoff import Record, WorkerInput, WorkerResult
from kubetune_trainer.prometheus import StepMetrics
from kubetune_trainer.records import StepRecord
from kubetune_trainer.watchdog.beats import Beats, Sender
from kubetune_trainer.watchdog.pulse import PULSE
from kubetune_trainer.worker import train


def train_rank(given: WorkerInput) -> WorkerResult | None:
    """Trains this rank's share. Rank 0 returns the result."""
    torch.set_num_threads(threads(ray.train.get_context().get_local_world_size()))
    with accelerator_named(), Beats(_sender(), given.records.beat.remote, PULSE):
        return train(given, ray.get(given.data), _teller(given))


def _sender() -> Sender:
    """This process, for whoever has to end it from elsewhere."""
    return Sender(dist.get_rank(), platform.node(), ray.get_runtime_context().get_node_id(), os.getpid())


def _teller(given: WorkerInput) -> Callable[[Record], None]:
    """What is called with each record: it is shown to Prometheus, and on rank 0 sent to the driver."""
    rank, metadata = dist.get_rank(), given.run.job.metadata
    show = StepMetrics(namespace=metadata.namespace, name=metadata.name, attempt=given.run.attempt, worker=rank)

    def tell(record: Record) -> None:
        if isinstance(record, StepRecord):
            show(record)
        if rank == 0:
            given.records.put.remote(record)

    return tell
