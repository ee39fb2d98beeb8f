"""Whole runs of one worker in the process that calls them, any number of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from kubetune_api.job import FineTuneJob
from kubetune_api.run import Run
from kubetune_trainer.artifact.published import Published
from kubetune_trainer.driver import execute
from kubetune_trainer.events import JsonLinesListener, Listener
from kubetune_trainer.stop_request import StopRequest
from kubetune_trainer.watchdog.watchdog import GiveUp
from support.no_giving_up import no_giving_up

TIME = "2026-03-02T09:14:07Z"


def run_of(job: FineTuneJob, folder: Path, give_up: GiveUp = no_giving_up) -> Published:
    """What the job publishes; models are fetched to `folder`."""
    with (folder / "events.jsonl").open("w") as events, patch.dict(os.environ), _deepspeed_without_a_group():
        run = Run(job=job, run_id="run-1", workers=1)
        return executed(run, JsonLinesListener(events), folder / "cache", give_up)


def executed(run: Run, listener: Listener, cache: Path, give_up: GiveUp = no_giving_up) -> Published:
    """What the run publishes, always at the same time; nobody tells it to stop."""
    return execute(
        run,
        listener=listener,
        cache=cache,
        start_time=TIME,
        now=lambda: TIME,
        give_up=give_up,
        stop=StopRequest(),
    )


@contextmanager
def _deepspeed_without_a_group() -> Iterator[None]:
    """DeepSpeed keeps a group for as long as its process lives, also one that is destroyed."""
    from deepspeed.comm import comm
    from deepspeed.utils import groups

    with patch.object(comm, "cdb", None), patch.object(groups, "_WORLD_GROUP", None):
        yield
