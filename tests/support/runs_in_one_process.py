"""Whole runs without Ray: the driver's own sequence, with a group of one rank in the process that calls it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch.distributed as dist

from kubetune_api.job import FineTuneJob
from kubetune_api.run import Run
from kubetune_trainer.artifact.published import Published
from kubetune_trainer.driver import Prepared, Trained, execute, worker_input
from kubetune_trainer.events import JsonLinesListener, Listener
from kubetune_trainer.resolve import Hardware
from kubetune_trainer.storage.store import Store
from kubetune_trainer.worker import train

TIME = "2026-03-02T09:14:07Z"
_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"}


def run_of(job: FineTuneJob, folder: Path) -> Published:
    """What the job publishes; models are fetched to `folder`."""
    with (folder / "events.jsonl").open("w") as events, _group_of_one(folder / "group"):
        return execute(
            Run(job=job, run_id="run-1", workers=1),
            listener=JsonLinesListener(events),
            cache=folder / "cache",
            start_time=TIME,
            now=lambda: TIME,
            training=_train_here,
        )


def _train_here(prepared: Prepared, store: Store, listener: Listener) -> Trained:
    given = worker_input(prepared, Hardware(), listener)
    result = train(given, prepared.data, lambda _: None)
    assert result is not None
    return Trained(given, result)


@contextmanager
def _group_of_one(rendezvous: Path) -> Iterator[None]:
    with patch.dict(os.environ, _ALONE), _deepspeed_without_a_group():
        dist.init_process_group("gloo", init_method=rendezvous.as_uri(), rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()


@contextmanager
def _deepspeed_without_a_group() -> Iterator[None]:
    """DeepSpeed keeps a group for as long as its process lives, also one that is destroyed."""
    from deepspeed.comm import comm
    from deepspeed.utils import groups

    with patch.object(comm, "cdb", None), patch.object(groups, "_WORLD_GROUP", None):
        yield
