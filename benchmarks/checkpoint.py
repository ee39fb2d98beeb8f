"""Measures what checkpoints cost: SmolLM2 on two workers, saved to a real S3 server while it trains; killed, resumed.

python benchmarks/checkpoint.py     # about five minutes on two cores; needs `make assets servers`
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
import torch.distributed as dist
from obstore.store import S3Store
from peers import job_of
from safetensors.torch import load_file

from kubetune_api.run import Run
from kubetune_trainer.checkpoint.chain import read_chain
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import LastProgress
from kubetune_trainer.handoff import Record, WorkerInput
from kubetune_trainer.launch import Prepared, begun, with_checkpoints
from kubetune_trainer.model.load import load_tokenizer
from kubetune_trainer.model.source import pretrained_model
from kubetune_trainer.records import StepRecord
from kubetune_trainer.resolve import Hardware
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import language_model_class, task_of
from kubetune_trainer.underway import Saved
from kubetune_trainer.worker import train
from servers.s3 import S3Server
from support.ranks import run_ranks

MANIFEST = Path(__file__).parents[1] / "examples" / "dialogues.yaml"
EVERY, KILLED, STEPS = 10, 36, 40
"""A checkpoint is due after so many steps; when rank 0 is killed; the steps of the training."""
SETTINGS = {
    "output.uri": "s3://benchmark",
    "dataset.testFraction": 0,
    "training.maxSteps": STEPS,
    "training.globalBatchSize": 4,
    "training.microBatchSize": 2,
    "training.checkpoints.everySteps": EVERY,
}
PIECE = 32 * 2**20
"""Bytes of an object of the bare loop."""


def main() -> None:
    """Prints the figures."""
    with TemporaryDirectory() as folder:
        server = S3Server(Path(folder))
        server.start()
        server.make_bucket("benchmark")
        os.environ.update(server.env)
        try:
            measure(Path(folder))
        finally:
            server.stop()


def measure(scratch: Path) -> None:
    """A training that is killed, and its next execution."""
    log = scratch / "log"
    prepared = prepare_run(scratch)
    try:
        run_ranks(rank, prepared.run.workers or 0, started(prepared, 1), prepared.data, log, KILLED)
    except RuntimeError as error:
        killed, said = time.time(), str(error)
    saved, steps = read(log)
    again = scratch / "again"
    bare = run_ranks(rank, prepared.run.workers or 0, started(prepared, 2), prepared.data, again, 0)
    _, resumed = read(again)
    print(f"{said}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    told(saved, steps, bare)
    first = min(resumed, key=lambda step: step["time"])
    print(f"from the kill to the end of step {first['step']}: {first['time'] - killed:.1f} s", end="")
    print(f", of which the step itself {first['seconds']:.1f} s")


def prepare_run(scratch: Path) -> Prepared:
    """As the driver does it."""
    job = job_of(MANIFEST, [f"spec.{name}={value}" for name, value in SETTINGS.items()])
    spec, task = job.spec, task_of(job.spec)
    base = pretrained_model(spec.model, scratch / "cache", language_model_class())
    files = {"train": fetch_dataset(spec.dataset.uri, spec.dataset.revision, scratch / "cache")}
    data = prepare(task, spec, files, load_tokenizer(base.folder, spec.task.languages), spec.max_length)
    run = Run(job=job, run_id="run-1", workers=spec.resources.workers)
    return Prepared(run, base, data, spec.max_length, scratch / "cache", give_up)


def give_up(error: RunError) -> NoReturn:
    """Nobody watches this training."""
    raise error


def started(prepared: Prepared, execution: int) -> WorkerInput:
    """What the workers of an execution are given."""
    run = prepared.run.model_copy(update={"execution": execution})
    prepared = replace(prepared, run=run)
    given, _ = begun(prepared, Hardware(), LastProgress())
    return with_checkpoints(prepared, given, Store.open(run.root), LastProgress())


def rank(given: WorkerInput, data: PreparedData, log: Path, killed: int) -> dict[str, float]:
    """Trains; the figures of this rank without a training, in seconds and bytes."""

    def tell(record: Record) -> None:
        if dist.get_rank() == 0 and isinstance(record, (StepRecord, Saved)):
            with log.open("a") as file:
                file.write(json.dumps({"kind": type(record).__name__, "time": time.time(), **vars(record)}) + "\n")
            if isinstance(record, StepRecord) and record.step == killed:
                os.kill(os.getpid(), signal.SIGKILL)

    shard = read_chain(Store.open(given.run.root), given.run.run_id).checkpoints[:1]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "shard"
        if shard:
            Store.open(given.run.root).download(shard[0].shards[dist.get_rank()].path, path)
        train(given, data, tell)
        return without_training(given, path) if shard else {}


def without_training(given: WorkerInput, shard: Path) -> dict[str, float]:
    """The same bytes, copied, saved by torch, uploaded by the store and by a bare loop."""
    tensors = {name: one.clone() for name, one in load_file(shard).items()}
    store, number = Store.open(given.run.root), dist.get_rank()
    client = S3Store("benchmark", client_options={"allow_http": True})

    def bare_loop() -> None:
        with shard.open("rb") as file:
            for piece, content in enumerate(iter(lambda: file.read(PIECE), b"")):
                client.put(f"bare/{number}/{piece}", content)

    return {
        "bytes": float(shard.stat().st_size),
        "copy": least(lambda: [one.clone() for one in tensors.values()]),
        "torch.save": least(lambda: torch.save(tensors, shard.with_suffix(".pt"))),
        "upload": least(lambda: store.upload(shard, f"upload/{number}")),
        "bare loop": least(bare_loop),
    }


def least(action: Callable[[], Any]) -> float:
    """Seconds, of three times on all ranks at once."""
    found = []
    for _ in range(3):
        dist.barrier()
        begun_at = time.monotonic()
        action()
        found.append(time.monotonic() - begun_at)
    return min(found)


def read(log: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What rank 0 told: checkpoints, steps."""
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return [one for one in found if one["kind"] == "Saved"], [one for one in found if one["kind"] == "StepRecord"]


def told(saved: list[dict[str, Any]], steps: list[dict[str, Any]], bare: list[dict[str, float]]) -> None:
    """Prints the ratios."""
    slowest = {name: max(one[name] for one in bare) for name in bare[0]}
    stall = min(one["stall_seconds"] for one in saved)
    print(f"a checkpoint of {sum(one['bytes'] for one in bare) / 2**20:,.0f} MiB, {len(saved)} saved while it trained")
    print(f"stall {stall:.3f} s (all: {', '.join(format(one['stall_seconds'], '.3f') for one in saved)}):")
    for name in ("copy", "torch.save"):
        print(f"  {stall / slowest[name]:.2f} times {name}, {slowest[name]:.3f} s")
    rate = sum(one["bytes"] for one in bare) / 2**20 / slowest["upload"]
    print(f"upload {rate:,.0f} MiB/s, {slowest['bare loop'] / slowest['upload']:.0%} of the rate of a bare put loop")
    print(f"upload while it trains: {', '.join(format(one['upload_seconds'], '.1f') for one in saved)} s")
    ended = {step["step"]: step["time"] for step in steps}
    until = {one["step"]: ended[one["step"]] + one["stall_seconds"] + one["upload_seconds"] for one in saved}
    beside = {step for first, end in until.items() for step in ended if step > first and ended[step - 1] < end}
    quiet = [step["seconds"] for step in steps if step["step"] > 1 and step["step"] not in beside]
    busy = [step["seconds"] for step in steps if step["step"] in beside]
    print(f"steps beside an upload ({len(busy)}): {fmean(busy) / fmean(quiet) - 1:+.0%} on {fmean(quiet):.2f} s")


if __name__ == "__main__":
    main()
