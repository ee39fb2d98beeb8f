"""Workers that Ray starts: on the nodes of a cluster, or several on this machine."""

from dataclasses import replace
from tempfile import TemporaryDirectory

import ray

from kubetune_trainer.events import Listener
from kubetune_trainer.handoff import WorkerResult
from kubetune_trainer.journal import Journal, journaled
from kubetune_trainer.launch import Prepared, Trained, begun, hangs_of, reader_of, with_checkpoints
from kubetune_trainer.ray_beats import RemoteBeats, kill_ranks
from kubetune_trainer.ray_runtime import RemoteRecords, hardware, new_record_queue, ray_cluster, run_workers
from kubetune_trainer.storage.store import Store
from kubetune_trainer.watchdog.watchdog import Watchdog
from kubetune_trainer.worker_entry import train


def train_on_ray(prepared: Prepared, store: Store, listener: Listener) -> Trained:
    """Trains on a Ray cluster: that which is there, or one on this machine."""
    listener.stage("Starting the workers")
    with (
        TemporaryDirectory(prefix="kubetune-") as scratch,
        ray_cluster(prepared.run.workers, needs_gpu=prepared.run.needs_gpu),
    ):
        given, tell = begun(prepared, hardware(), listener)
        given = with_checkpoints(prepared, given, store, listener)
        given = replace(given, data=ray.put(prepared.data), records=new_record_queue())

        beats = RemoteBeats(given.records).last
        watchdog = Watchdog(beats, hangs_of(prepared.run), kill_ranks, prepared.give_up, listener.note)

        def work(journal: Journal) -> WorkerResult:
            records = RemoteRecords(given.records)
            reading = reader_of(prepared, records.take, tell, journal, listener=listener, tell_workers=records.stop)
            with reading, watchdog.watching():
                return run_workers(train, given, scratch=scratch)

        return Trained(given, journaled(store, prepared.run.folder, listener, work))
