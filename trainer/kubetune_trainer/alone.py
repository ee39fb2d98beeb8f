"""One worker on this machine: it trains in the driver's own process, as Ray takes longer to start than many trainings.

What Ray does for several is not there for one: should the system end the process for want of memory, whoever started it
must say so.
"""

import gc
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist

from kubetune_api.run import Run
from kubetune_trainer.cores import threads
from kubetune_trainer.errors import RunError, explained, unexplained
from kubetune_trainer.events import Listener
from kubetune_trainer.handoff import RecordQueue, WorkerResult
from kubetune_trainer.journal import Journal, journaled
from kubetune_trainer.launch import Prepared, Trained, begun, hangs_of, reader_of, with_checkpoints
from kubetune_trainer.resolve import Hardware, worker_count
from kubetune_trainer.storage.store import Store
from kubetune_trainer.training.device import Device, describe_gpu, detect
from kubetune_trainer.watchdog.beats import Beat, Beats, Sender
from kubetune_trainer.watchdog.pulse import PULSE
from kubetune_trainer.watchdog.watchdog import Watchdog
from kubetune_trainer.worker import train

_RANK_ZERO_OF_ONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
"""DeepSpeed reads them beside the group that is there."""


def trains_alone(run: Run) -> bool:
    """Whether it has one worker, and no Ray cluster waits for it.

    With stage 3, DeepSpeed changes torch itself and keeps the engine for as long as its process lives: it gets another.
    """
    return (
        run.job.spec.zero.stage != 3
        and not os.environ.get("RAY_ADDRESS")
        and worker_count(run.workers, _gpus(detect()))[0] == 1
    )


def train_alone(prepared: Prepared, store: Store, listener: Listener) -> Trained:
    """Trains in this process."""
    device = detect()
    gpus = _gpus(device)
    given, tell = begun(prepared, Hardware(gpus, describe_gpu() if gpus else None), listener)
    given = with_checkpoints(prepared, given, store, listener)
    records, stop = RecordQueue(), prepared.stop
    watchdog = Watchdog(records.beats, hangs_of(prepared.run), _nobody, prepared.give_up, listener.note, patience=0)

    def work(journal: Journal) -> WorkerResult:
        reading = reader_of(prepared, records.take, tell, journal, listener=listener)
        beating = Beats(Sender(0, platform.node(), pid=os.getpid()), records.beat, PULSE)
        with reading, errors_explained(), watchdog.watching(), beating, group_of_one(device):
            torch.set_num_threads(threads())
            result = train(given, prepared.data, records.put, lambda: stop.is_there)
        assert result is not None, "rank 0 returned nothing"
        return result

    trained = Trained(given, journaled(store, prepared.run.folder, listener, work))
    # What is left of the engine are circles of objects, and the verification opens the model once more.
    gc.collect()
    return trained


def _gpus(device: Device) -> int:
    """None where torch cannot use those that there are, as with a driver that is too old."""
    return torch.cuda.device_count() if device.kind == "cuda" else 0


def _nobody(_: Sequence[Beat]) -> None:
    """What hangs is a thread of this process, which nobody can end but with the process."""


@contextmanager
def group_of_one(device: Device) -> Iterator[None]:
    """Within it this process is the only rank of a group."""
    os.environ.update(_RANK_ZERO_OF_ONE)
    dist.init_process_group(device.backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def errors_explained() -> Iterator[None]:
    """Within it, every error is the `RunError` that its author reads, as that of a worker on another machine is."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        causes = list(_causes(error))
        raise explained(causes) or unexplained(causes[-1]) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from, the deepest last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
