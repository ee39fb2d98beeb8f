"""The beats of ranks on other machines, and the end of their processes."""

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kubetune_trainer.watchdog.beats import Beat
from kubetune_trainer.watchdog.hangs import all_pids

_ANSWER_SECONDS = 3.0
_KILL_SECONDS = 20.0
"""Ray may have to start a process on the node for it."""
_log = logging.getLogger(__name__)


class RemoteBeats:
    """Those of a `RecordQueue` in another process."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def last(self) -> list[Beat] | None:
        """The last beat of each rank; None where the queue does not answer now."""
        try:
            beats: list[Beat] = ray.get(self._queue.beats.remote(), timeout=_ANSWER_SECONDS)
        except ray.exceptions.RayError as error:
            _log.debug("The beats of the workers cannot be read: %s", error)
            return None
        return beats


def kill_ranks(beats: Sequence[Beat]) -> None:
    """Ends the processes that sent them, on their nodes; a stopped process hears of nothing else."""
    here, pids = ray.get_runtime_context().get_node_id(), all_pids(beats)
    _kill(pids.pop(here, []))
    kill = ray.remote(num_cpus=0, max_retries=0)(_kill)
    asked = [
        kill.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(there)
        for node, there in pids.items()
    ]
    _, late = ray.wait(asked, num_returns=len(asked), timeout=_KILL_SECONDS) if asked else ([], [])
    if late:
        _log.warning("%d of %d nodes did not answer: their processes may still be there", len(late), len(pids))


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
