"""Where each millisecond of a step goes.

python benchmarks/step_profile.py                    # MiniLM, whole and frozen below, and SmolLM2; one worker
python benchmarks/step_profile.py --workers 2 --only MiniLM --steps 20

The loop is that of a run over the engine of a run, its parts wrapped in clocks. On GPUs the clocks would measure how
long it takes to ask, not to do: `torch.profiler` is for them.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import torch
import torch.distributed as dist
from peers import job_of
from speed import WORKLOADS
from speed_data import prepared

from kubetune_planner.encoder_decoder import shape_from_config
from kubetune_trainer.cores import threads
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.methods import method_of
from kubetune_trainer.model.load import load_model, load_tokenizer
from kubetune_trainer.records import StepRecord
from kubetune_trainer.resolve import Hardware, resolve
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.tasks import task_of
from kubetune_trainer.training import loop as loop_module
from kubetune_trainer.training import optimizer as optimizers
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import detect
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.training.schedule import sum_of_rates
from support.ranks import run_ranks

_PLENTY = 2**40
"""Bytes of main memory: the stage is that which is asked for."""
Parts = dict[str, float]
"""Milliseconds of a step on average, by what they went into; and `tokens`, those of a second."""


class Clocks:
    """What goes into each part, without the parts within it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[float] = []

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time counted."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            started = time.perf_counter()
            self._open.append(0.0)
            try:
                return function(*arguments, **keywords)
            finally:
                took = time.perf_counter() - started
                self.seconds[part] += took - self._open.pop()
                if self._open:
                    self._open[-1] += took

        return timed

    def wrap(self, part: str, owner: Any, name: str) -> None:
        """The method or function of that name, where there is one."""
        if (function := getattr(owner, name, None)) is not None:
            setattr(owner, name, self.around(part, function))


def main(arguments: list[str]) -> None:
    """Prints a table: a column for each training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="how many are counted, behind two that are not")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--stage", type=int, default=0)
    parser.add_argument("--only", action="append", help="the trainings with this in their names; may be repeated")
    asked = parser.parse_args(arguments)
    found: dict[str, Parts] = {}
    for workload in WORKLOADS:
        if not asked.only or any(text in workload.name for text in asked.only):
            with TemporaryDirectory() as folder:
                given = prepared(workload, Path(folder), asked.steps + 2)
                measure = partial(run_ranks, of_rank) if asked.workers > 1 else _alone
                profiles = measure(asked.workers, Path(folder), given.model, asked.stage)
            found[workload.name] = profiles[0]
    print(table(found))


def table(found: dict[str, Parts]) -> str:
    """In Markdown, in milliseconds and shares of the step."""
    parts = dict.fromkeys(part for profile in found.values() for part in profile if part != "tokens")
    lines = [f"| ms of a step | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    for part in parts:
        cells = []
        for profile in found.values():
            whole = sum(value for name, value in profile.items() if name != "tokens")
            cells.append(f"{profile.get(part, 0):.1f} ({profile.get(part, 0) / whole:.1%})")
        lines.append(f"| {part} | {' | '.join(cells)} |")
    lines.append(f"| tokens/s | {' | '.join(format(profile['tokens'], ',.0f') for profile in found.values())} |")
    return "\n".join(lines)


def _alone(workers: int, *arguments: Any) -> list[Parts]:
    assert workers == 1
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", DS_ACCELERATOR="cpu")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        return [of_rank(*arguments)]
    finally:
        dist.destroy_process_group()


def of_rank(folder: Path, model: Path, stage: int) -> Parts:
    """One rank's training of the job in the folder, with clocks."""
    workers = dist.get_world_size()
    torch.set_num_threads(threads(workers))
    job = job_of(folder / "job.json", [])
    spec, tokenizer = job.spec, load_tokenizer(model)
    task, method = task_of(spec), method_of(spec.method)
    files = {"train": fetch_dataset(spec.dataset.uri, spec.dataset.revision, folder / "cache")}
    data = prepare(task, spec, files, tokenizer, spec.max_length)
    training = spec.training
    resolved, _ = resolve(
        spec,
        workers=workers,
        hardware=Hardware(memory=_PLENTY),
        shape=shape_from_config(json.loads((model / "config.json").read_bytes())),
        max_length=spec.max_length,
        mean_length=float(data.splits["train"].lengths.mean()),
    )
    resolved = replace(resolved, stage=stage)
    batch, micro_batch = training.global_batch_size, resolved.micro_batch_size
    plan = BatchPlan(data.splits["train"].rows, batch, micro_batch, workers, 1, training.max_steps)
    torch.manual_seed(training.seed)
    loaded = load_model(model, spec, task, data.space, tokenizer)
    method.attach(loaded, precision="FP32", reach=partial(sum_of_rates, training, plan.total_steps))
    clocks, counted = Clocks(), list[StepRecord]()
    engine = build_engine(loaded.model, training, plan, resolved, detect())

    def take(record: Any) -> None:
        if isinstance(record, StepRecord) and record.step == 2:
            clocks.seconds.clear()
        elif isinstance(record, StepRecord):
            counted.append(record)

    begun = Loop(engine, task, data.splits, data.space, spec, plan, tokenizer.pad_token_id, take)
    _wrap(clocks, engine, type(begun.task))
    begun.run()
    seconds = sum(record.seconds for record in counted[1:])
    parts = {part: value * 1000 / len(counted[1:]) for part, value in clocks.seconds.items()}
    parts["the rest"] = seconds * 1000 / len(counted[1:]) - sum(parts.values())
    return parts | {"tokens": sum(record.tokens for record in counted[1:]) / seconds}


def _wrap(clocks: Clocks, engine: Any, task: Any) -> None:
    clocks.wrap("batches", loop_module, "split_batch")
    clocks.wrap("batches", loop_module, "collate")
    clocks.wrap("forward, losses", task, "losses")
    clocks.wrap("backward", torch.Tensor, "backward")
    clocks.wrap("backward, DeepSpeed's part", engine, "backward")
    for name in ("allreduce_gradients", "allreduce_and_copy"):
        clocks.wrap("gradients put together", engine, name)
    for name in ("all_reduce", "broadcast"):
        clocks.wrap("collectives", dist, name)
    clocks.wrap("optimizer", engine.basic_optimizer, "step")
    clocks.wrap("norm, clipping", optimizers, "clip_grad_norm_")
    clocks.wrap("step, DeepSpeed's part", engine, "step")


if __name__ == "__main__":
    main(sys.argv[1:])
