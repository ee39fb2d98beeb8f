"""Ray: starting it (or joining the one that is there), running the workers, and reading what became of them."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from secrets import token_hex
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import ray
import ray.train
from ray.exceptions import RayActorError, RayTaskError
from ray.train.torch import TorchConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError, explained, unexplained
from kubetune_trainer.handoff import Record, RecordQueue, WorkerInput, WorkerResult
from kubetune_trainer.ray_group import Group
from kubetune_trainer.resolve import Hardware
from kubetune_trainer.training.device import describe_gpu
from kubetune_trainer.training.groups import PATIENCE

_NODES_POLL_SECONDS = 1.0
_LONGEST_SOCKET_PATH = 103
"""Bytes: macOS' limit; Linux has 107."""
_log = logging.getLogger(__name__)
_WHERE_RAY_KEEPS_CAUSES = ("controller_failure", "health_check_failure", "cause", "__cause__")


@contextmanager
def ray_cluster(workers: int | None, *, needs_gpu: bool = False) -> Iterator[None]:
    """Joins the Ray cluster that RAY_ADDRESS names, or starts one on this machine for the time of the block."""
    if os.environ.get("RAY_ADDRESS"):
        with _own_signals():
            ray.init(log_to_driver=True)
        try:
            _await_slots(workers or 1, needs_gpu=needs_gpu)
            yield
        finally:
            ray.shutdown()
        return
    # Ray's processes may still write to their logs while the folder goes.
    place = folder_for_sockets(gettempdir())
    # Otherwise Ray keeps one in the home folder, which may not be there to write to.
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", token_hex(32))
    with TemporaryDirectory(prefix="kt-", dir=place, ignore_cleanup_errors=True) as folder:
        # More workers than cores share the cores: Ray's CPUs are slots, not cores.
        cpus = max(workers or 1, os.cpu_count() or 1)
        with _own_signals():
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=True,
                _temp_dir=folder,
            )
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps our handler of SIGTERM, which `ray.init` replaces by its own."""
    held = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, held)


def _await_slots(workers: int, *, needs_gpu: bool) -> None:
    """Returns once every worker has its place: nodes may join late, and what they have decides what is computed on.

    Without a limit, as Ray waits for its resources; whoever started the run knows why nodes do not come.
    """
    told = -1
    while (there := slots(ray.cluster_resources(), needs_gpu=needs_gpu)) < workers:
        if there != told:
            _log.warning("Waiting for nodes: there is a place for %d of %d workers", there, workers)
            told = there
        time.sleep(_NODES_POLL_SECONDS)


def slots(resources: Mapping[str, float], *, needs_gpu: bool = False) -> int:
    """For how many workers a cluster has a place: one GPU each, or one CPU each where there are no GPUs.

    Where each needs a GPU, nodes have as many CPUs as workers: once they are all there, whoever lacks a GPU is told.
    """
    gpus = 0 if needs_gpu else resources.get("GPU", 0)
    return int(gpus or resources.get("CPU", 0))


def folder_for_sockets(temporary: str) -> str:
    """Where Ray's folder is made: `temporary`, unless the paths of the sockets in it would be too long."""
    longest = f"{temporary}/kt-12345678/session_2026-12-31_23-59-59_123456_1234567/sockets/plasma_store"
    return temporary if len(os.fsencode(longest)) <= _LONGEST_SOCKET_PATH else "/tmp"  # noqa: S108


def hardware() -> Hardware:
    """What the workers can compute on, over the whole Ray cluster. Its GPUs are taken to be alike: one is asked."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if not gpus:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        return Hardware(memory=int(sum(node.get("memory", 0) for node in nodes)))
    # In a process of its own, which Ray ends afterwards: asking takes some of the GPU's memory.
    try:
        return Hardware(gpus, ray.get(ray.remote(num_gpus=1, max_calls=1)(describe_gpu).remote()))
    except RayTaskError as failure:
        raise explained([failure.cause]) or failure from failure


def new_record_queue() -> Any:
    """The handle of a new `RecordQueue`."""
    return ray.remote(num_cpus=0)(RecordQueue).remote()


class RemoteRecords:
    """The records of a `RecordQueue` in another process.

    Some may get lost, with the queue or on a machine that is too busy; the workers' result has them all.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._asked: Any = None

    def take(self) -> list[Record] | None:
        """Those that have come since the last call; None if no more will come."""
        self._asked = self._asked or self._queue.take.remote()
        try:
            records: list[Record] = ray.get(self._asked, timeout=30)
        except ray.exceptions.GetTimeoutError:
            return []  # a busy machine; the same answer is asked for again, or what it holds would be lost
        except ray.exceptions.RayError as error:
            _log.warning("What the training reports no longer arrives: %s", error)
            return None
        self._asked = None
        return records

    def stop(self) -> None:
        """Tells whoever adds a record from now on that the training is to stop."""
        self._queue.stop.remote()


def run_workers(
    train: Callable[[dict[str, Any]], WorkerResult | None], given: WorkerInput, *, scratch: str
) -> WorkerResult:
    """Calls `train` on every rank, one GPU each where there are any; every layer's own retries are off."""
    none = ray.train.FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0)
    trainer = Group(
        train,
        train_loop_config={"input": given},
        torch_config=TorchConfig(backend="nccl" if given.on_gpu else "gloo", timeout_s=int(PATIENCE.total_seconds())),
        scaling_config=ray.train.ScalingConfig(num_workers=given.resolved.workers, use_gpu=given.on_gpu),
        run_config=ray.train.RunConfig(name=given.run.run_id, storage_path=scratch, failure_config=none),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as failure:
        raise explain(failure) from failure
    assert result.return_value is not None, "rank 0 returned nothing"
    trained: WorkerResult = result.return_value
    return trained


def explain(failure: TrainingFailedError) -> RunError:
    """What a failed group of workers means for the user."""
    causes = list(_causes(failure))
    if found := explained(causes):
        return found
    if any(isinstance(cause, RayActorError) for cause in causes):
        return RunError(
            Reason.UNKNOWN, "a worker process died; see the end of the log (out of memory is the usual cause)"
        )
    return unexplained(causes[-1])


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """The failure's own causes, those of each worker first and the deepest last."""
    seen: set[int] = set()
    waiting: list[object] = [failure]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        if isinstance(cause, WorkerGroupError):
            waiting.extend(cause.worker_failures.values())
        waiting.extend(getattr(cause, name, None) for name in _WHERE_RAY_KEEPS_CAUSES)
