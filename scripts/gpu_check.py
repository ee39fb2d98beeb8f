"""Ten minutes on one GPU: whether the code that CPUs cannot show does there what it is written for.

    make gpu-check                      # or: gpu_check.py [--only NAME ...] [--markdown]

Each check is a process of its own with a limit of its own: one that dies or hangs ends no other. They go through the
product's own parts (engine, loop, planner, methods, errors) and print a table: what, expected, seen, verdict. On a
machine without a GPU a reduced form runs in one process; what a CPU cannot show is `not run` there.
"""

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402
from transformers import AutoModelForCausalLM, LlamaConfig  # noqa: E402

from kubetune_api.job import NOTHING, FineTuneJobSpec, Freeze, Offload  # noqa: E402
from kubetune_api.reasons import Reason  # noqa: E402
from kubetune_planner.memory import CUDA_CONTEXT, estimate  # noqa: E402
from kubetune_planner.optimizers import STATE_BYTES  # noqa: E402
from kubetune_planner.shape import ModelShape  # noqa: E402
from kubetune_planner.states import (  # noqa: E402
    Precision,
    bytes_per_parameter,
    model_states,
    stage_that_runs,
)
from kubetune_trainer.alone import errors_explained, group_of_one  # noqa: E402
from kubetune_trainer.data.prepared import EncodedSplit  # noqa: E402
from kubetune_trainer.errors import RunError  # noqa: E402
from kubetune_trainer.methods.full import Full  # noqa: E402
from kubetune_trainer.model.load import load_model, load_tokenizer  # noqa: E402
from kubetune_trainer.records import StepRecord  # noqa: E402
from kubetune_trainer.resolved import ResolvedTraining  # noqa: E402
from kubetune_trainer.tasks import task_of  # noqa: E402
from kubetune_trainer.tasks.causal import TokenTargets, Vocabulary  # noqa: E402
from kubetune_trainer.tasks.choice_losses import PLAIN, choice_losses  # noqa: E402
from kubetune_trainer.training.batches import BatchPlan  # noqa: E402
from kubetune_trainer.training.device import Device, describe_gpu, detect  # noqa: E402
from kubetune_trainer.training.engine import build_engine  # noqa: E402
from kubetune_trainer.training.gpu_driver import LEAST_DRIVERS, driver_version, why_no_gpu  # noqa: E402
from kubetune_trainer.training.loop import Loop  # noqa: E402
from support.tiny_models import PAD, completion_rows, saved, spec_for, tiny_model  # noqa: E402
from support.training_cases import Case, train_each  # noqa: E402

GIB = 1 << 30
PASS, FAIL, NOT_RUN = "pass", "FAIL", "not run"
OF_GPUS = "needs a GPU"
NEVER = (
    "NCCL between GPUs, overlapped communication, RDMA between nodes",
    "two GPUs on two nodes, and more than one rank",
)
"""What one GPU cannot show: NCCL takes no two ranks on one."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    expected: str
    seen: str
    verdict: str


@dataclass(frozen=True)
class Place:
    """Where the checks run, and how large they are."""

    device: Device

    @property
    def on_gpu(self) -> bool:
        """Whether they are whole."""
        return self.device.kind == "cuda"

    @property
    def memory(self) -> int:
        """Of the GPU, in bytes."""
        return torch.cuda.get_device_properties(0).total_memory if self.on_gpu else 0

    @property
    def config(self) -> LlamaConfig:
        """A model made on the spot: of 1.2 billion parameters, as Llama 3.2's, where it fits; else smaller ones."""
        wide = self.memory >= 40 * GIB
        hidden, layers, words = (2048, 16, 128256) if wide else (1024, 8, 32000) if self.on_gpu else (64, 2, 256)
        return LlamaConfig(
            vocab_size=words,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 16 if not self.on_gpu else hidden // 64,
            num_key_value_heads=4 if not self.on_gpu else 8,
            intermediate_size=4 * hidden,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
            use_cache=False,
        )

    @property
    def stages(self) -> tuple[int, ...]:
        """Those that BF16 has, or two of them."""
        return (1, 2, 3) if self.on_gpu else (1, 3)

    @property
    def length(self) -> int:
        """Of a row, in tokens."""
        return 2048 if self.on_gpu else 32


def judged(what: str, expected: str, seen: str, holds: bool) -> Row:
    """A row with its verdict."""
    return Row(what, expected, seen, PASS if holds else FAIL)


def not_run(what: str, why: str = OF_GPUS) -> Row:
    """One that this machine cannot show."""
    return Row(what, why, "–", NOT_RUN)


# Trainings, through the engine and the loop.


@dataclass(frozen=True)
class Training:
    """A language model in training, for some steps."""

    place: Place
    stage: int
    precision: Precision = "BF16"
    rows: int = 1
    """Of a micro-batch."""
    steps: int = 5
    checkpointing: str = "None"
    offload: Offload = NOTHING

    @property
    def spec(self) -> FineTuneJobSpec:
        """The job, as trainer and planner read it."""
        spec = spec_for(
            "CausalLM",
            training={
                "globalBatchSize": self.rows,
                "microBatchSize": self.rows,
                "precision": self.precision,
                "maxSteps": self.steps,
                "activationCheckpointing": self.checkpointing,
            },
        )
        return spec.model_copy(update={"task": spec.task.model_copy(update={"max_length": self.place.length})}).resolved

    @property
    def split(self) -> EncodedSplit:
        """Rows of one length, all of whose tokens are learned."""
        rows, length = self.rows * self.steps, self.place.length
        tokens = np.random.default_rng(0).integers(1, self.place.config.vocab_size, rows * length).astype(np.int32)
        offsets = (np.arange(rows + 1) * length).astype(np.int64)
        return EncodedSplit(tokens, None, offsets, TokenTargets(~np.isin(np.arange(len(tokens)), offsets)))

    def model(self) -> Any:
        """The same numbers each time."""
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(self.place.config)

    def engine(self, model: Any) -> Any:
        """That of the trainer."""
        return engine_of(
            model,
            self.spec,
            self.split,
            self.place.device,
            self.stage,
            self.precision,
            activation_checkpointing=self.checkpointing,
            offload=self.offload,
        )

    def run(self, engine: Any) -> list[float]:
        """The losses of the steps."""
        return losses_of(engine, self.spec, self.split, Vocabulary())

    def trained(self) -> tuple[list[float], int]:
        """The losses, and the bytes of the GPU at the peak of the steps beside what was there before."""
        before = let_go(self.place)
        engine = self.engine(self.model())
        if self.place.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        losses = self.run(engine)
        peak = torch.cuda.max_memory_allocated() - before if self.place.on_gpu else 0
        engine.destroy()
        return losses, peak

    def planned(self) -> int:
        """What the planner says of that peak."""
        found = estimate(
            ModelShape.from_config(self.place.config.to_dict()),
            self.spec,
            stage=self.stage,
            workers=1,
            micro_batch_size=self.rows,
            precision=self.precision,
        )
        return found.total - CUDA_CONTEXT


def engine_of(
    model: Any,
    spec: FineTuneJobSpec,
    split: EncodedSplit,
    device: Device,
    stage: int,
    precision: Precision,
    **savings: Any,
) -> Any:
    """The trainer's engine for one worker; `savings` are what needs less memory."""
    training = spec.training
    resolved = ResolvedTraining(
        stage_that_runs(precision, stage),
        precision,
        training.micro_batch,
        1,
        training.peak_learning_rate,
        max_length=spec.max_length,
        **savings,
    )
    return build_engine(model, training, plan_of(spec, split), resolved, device)


def plan_of(spec: FineTuneJobSpec, split: EncodedSplit) -> BatchPlan:
    """One worker's batches."""
    training = spec.training
    return BatchPlan(
        rows=split.rows,
        global_batch_size=training.global_batch_size,
        micro_batch_size=training.micro_batch,
        workers=1,
        epochs=training.epochs,
        max_steps=training.max_steps,
    )


def losses_of(engine: Any, spec: FineTuneJobSpec, split: EncodedSplit, space: Any) -> list[float]:
    """Those of the trainer's loop."""
    records: list[Any] = []
    Loop(engine, task_of(spec), {"train": split}, space, spec, plan_of(spec, split), PAD, records.append).run()
    return [record.loss for record in records if isinstance(record, StepRecord)]


def let_go(place: Place) -> int:
    """Frees what is left of the training before; the bytes that stay."""
    gc.collect()
    if not place.on_gpu:
        return 0
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()


def near(one: list[float], other: list[float]) -> float:
    """The largest difference of two runs' losses."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def gib(size: float) -> str:
    """For people."""
    return f"{size / GIB:.2f} GiB"


# The checks.


def machine(place: Place) -> Iterator[Row]:
    """Driver, BF16, the group's backend, DeepSpeed's accelerator."""
    driver, cuda = driver_version(), torch.version.cuda
    least = LEAST_DRIVERS.get(int(cuda.partition(".")[0])) if cuda else None
    if not place.on_gpu:
        yield not_run("driver", why_no_gpu())
        yield not_run("bfloat16 on the GPU")
    else:
        holds = driver is not None and least is not None and int(driver.partition(".")[0]) >= least
        yield judged(f"driver for CUDA {cuda}", f"{least} or newer", str(driver), holds)
        gpu = describe_gpu()
        yield judged("bfloat16 on the GPU", "yes, from Ampere on", f"{gpu.name}: {gpu.has_bf16}", gpu.has_bf16)
    one = torch.ones(3, device=place.device.kind)
    torch.distributed.all_reduce(one)
    yield judged("sum over a group", place.device.backend, torch.distributed.get_backend(), bool(one.sum() == 3))
    from deepspeed.accelerator import get_accelerator

    name = get_accelerator().device_name().partition(":")[0]
    yield judged("DeepSpeed's accelerator", place.device.kind, name, name == place.device.kind)


def losses(place: Place) -> Iterator[Row]:
    """A small encoder and a small decoder: their losses are those that CPUs have come to."""
    cases = [
        Case(family, stage=stage, bf16=precision == "BF16")
        for family in ("bert", "llama")
        for stage, precision in ((0, "FP32"), (2, "FP32"), (2, "BF16"))[: 3 if place.on_gpu else 2]
    ]
    for case, trained in train_each(cases, place.device).items():
        golden = json.loads((ROOT / "tests" / "golden" / f"losses-{case.family}.json").read_text("utf-8"))["losses"]
        within, difference = 0.05 if case.bf16 else 1e-3, near(trained.losses, golden)
        what = f"{case.family}, stage {case.stage}, {'BF16' if case.bf16 else 'FP32'}"
        yield judged(what, f"the losses of CPUs, ±{within}", f"{difference:.1e}", difference <= within)


def memory(place: Place) -> Iterator[Row]:
    """A language model at each stage: its losses, and its memory against the planner's, part by part."""
    if place.on_gpu:
        # Before stage 3, of which DeepSpeed keeps some for as long as the process lives.
        one, two = Training(place, 2), Training(place, 2, rows=2)
        more = two.trained()[1] - one.trained()[1]
        yield within_of("activations and logits of another row", two.planned() - one.planned(), more)
    first: list[float] = []
    for stage in place.stages:
        training = Training(place, stage)
        found, peak = training.trained()
        first = first or found
        difference = near(found, first) if all(map(isfinite, found)) else float("inf")
        yield judged(f"stage {stage} in BF16", "the losses of stage 1, ±0.02", f"{difference:.1e}", difference <= 0.02)
        if not place.on_gpu:
            continue
        cost = bytes_per_parameter("BF16", stage, STATE_BYTES["AdamW"])
        sizes = ModelShape.from_config(place.config.to_dict()).parameters_for(None)
        kept = model_states(cost, parameters=sizes, trained=sizes, stage=stage, workers=1)
        before = let_go(place)
        engine = training.engine(training.model())
        states = torch.cuda.memory_allocated() - before
        del engine  # not destroyed: the group is still wanted
        yield within_of(f"stage {stage}: weights and optimizer", kept.weights + kept.optimizer, states)
        yield within_of(f"stage {stage}: the peak of a step", training.planned(), peak)
    if not place.on_gpu:
        yield not_run("peaks against the planner")


def within_of(what: str, planned: int, seen: int) -> Row:
    """Measured against the planner, which may be a tenth below and a quarter above."""
    share = planned / seen - 1 if seen else float("inf")
    return judged(what, f"{gib(planned)}, -10 to +25 %", f"{gib(seen)} ({share:+.0%})", -0.10 <= share <= 0.25)


def kernels(place: Place) -> Iterator[Row]:
    """What a step spends its time with."""
    training = Training(place, 2, steps=3)
    engine = training.engine(training.model())
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if place.on_gpu else [])]
    with profile(activities=activities) as found:
        training.run(engine)
    engine.destroy()
    names = {event.key: event.count for event in found.key_averages()}
    attention = sorted(name for name in names if "flash" in name.lower() or "attention" in name.lower())
    flash = [name for name in attention if "flash" in name.lower()]
    shown = (flash or attention or ["none"])[0][:60]
    yield judged(
        "kernel of the attention", "flash" if place.on_gpu else "any", shown, bool(flash if place.on_gpu else attention)
    )
    if not place.on_gpu:
        yield not_run("waits for the GPU in a step")
        return
    waits = names.get("cudaDeviceSynchronize", 0) / training.steps
    yield judged("waits for the whole GPU in a step", "at most 1", f"{waits:.1f}", waits <= 1)
    fused = any("fused_adam" in name.lower() or "FusedAdam" in name for name in names)
    yield judged("kernel of the optimizer", "fused AdamW", "fused" if fused else "not fused", fused)


SAVINGS: dict[str, dict[str, Any]] = {
    "activation checkpointing": {"stage": 2, "checkpointing": "Full"},
    "optimizer in main memory": {"stage": 2, "offload": Offload(optimizer="CPU")},
    "optimizer and weights in main memory": {"stage": 3, "offload": Offload(optimizer="CPU", weights="CPU")},
}


def savings(place: Place) -> Iterator[Row]:
    """What needs less memory: as much less as is said, at the same losses."""
    plain, peak = Training(place, 2).trained()
    for what, how in SAVINGS.items():
        found, lower = Training(place, **how).trained()
        difference = near(plain, found)
        yield judged(what, "the same losses, ±0.01", f"{difference:.1e}", difference <= 0.01)
        if place.on_gpu:
            yield judged(f"{what}: the peak", f"below {gib(peak)}", gib(lower), lower < peak)
    if not place.on_gpu:
        yield not_run("peaks of what needs less memory")


def large(place: Place) -> Iterator[Row]:
    """More than 2^31 numbers in one tensor."""
    words = 128256 if place.on_gpu else 1000
    rows = (1 << 31) // words + 2 if place.on_gpu else 8
    what = f"loss of {rows * words:,} logits"
    if place.on_gpu and place.memory < 36 * GIB:
        yield not_run(what, "needs a GPU of 40 GB")
    else:
        scores = torch.zeros(1, words, rows, device=place.device.kind)
        targets = torch.arange(rows, device=place.device.kind)[None] % words
        scores[0, targets[0, -1], -1] = 5.0
        last = float(choice_losses(scores, targets, PLAIN)[0][0, -1])
        expected = float(torch.tensor(torch.e).pow(5).add(words - 1).log()) - 5
        yield judged(what, f"{expected:.4f} at the last", f"{last:.4f}", abs(last - expected) < 1e-3)
        del scores
        let_go(place)
    numbers = 2_200_000_000 if place.on_gpu else 1000
    what = f"fused AdamW over {numbers:,} numbers"
    if place.on_gpu and place.memory < 45 * GIB:
        yield not_run(what, "needs a GPU of 48 GB")
        return
    weight = torch.nn.Parameter(torch.zeros(numbers, device=place.device.kind))
    weight.grad = torch.ones_like(weight)
    torch.optim.AdamW([weight], lr=1e-3, fused=True).step()
    moved = float(weight.detach()[-1])
    yield judged(what, "the last moves by -0.001", f"{moved:.4f}", abs(moved + 1e-3) < 1e-6)


def lost_numbers(place: Place) -> Iterator[Row]:
    """A number that is not finite ends a run at each stage."""
    for stage in place.stages:
        let_go(place)
        training = Training(place, stage, steps=2)
        model = training.model()
        with torch.no_grad():
            next(model.parameters())[:, 0] = float("nan")
        engine, seen = training.engine(model), "nothing"
        try:
            training.run(engine)
        except RunError as error:
            seen = error.reason
        engine.destroy()
        yield judged(f"NaN at stage {stage}", Reason.NOT_FINITE, seen, seen == Reason.NOT_FINITE)


def saves(place: Place) -> Iterator[Row]:
    """Load, train three steps at stage 3, save, open again."""
    spec = spec_for("CausalLM", training={"globalBatchSize": 2, "maxSteps": 3, "precision": "BF16"}).resolved
    with TemporaryDirectory() as base, TemporaryDirectory() as out:
        saved(tiny_model("llama", labels=None), Path(base))
        tokenizer = load_tokenizer(Path(base))
        loaded = load_model(Path(base), spec, task_of(spec), Vocabulary(), tokenizer)
        method = Full(Freeze())
        trainable = method.attach(loaded, precision="BF16", reach=lambda: 1.0)
        split = completion_rows(6)
        engine = engine_of(loaded.model, spec, split, place.device, 3, "BF16")
        losses_of(engine, spec, split, Vocabulary())
        state = dict(method.tensors(engine))
        method.write(trainable, state.items(), Path(out))
        again = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16).state_dict()
        same = bool(state) and all(torch.equal(again[name].cpu(), tensor) for name, tensor in state.items())
        engine.destroy()
    yield judged("stage 3: saved and opened again", f"{len(state)} equal tensors", "equal" if same else "differ", same)


def too_little(place: Place) -> Iterator[Row]:
    """A forced lack of memory is told as such."""
    size, seen = (4 * place.memory if place.on_gpu else 1 << 60), "nothing"
    try:
        with errors_explained():
            torch.empty(size, dtype=torch.uint8, device=place.device.kind)
    except RunError as error:
        seen = error.reason
    yield judged("a lack of memory", Reason.OUT_OF_MEMORY, seen, seen == Reason.OUT_OF_MEMORY)


CHECKS: dict[str, tuple[Callable[[Place], Iterator[Row]], int]] = {
    "machine": (machine, 60),
    "losses": (losses, 90),
    "memory": (memory, 180),
    "kernels": (kernels, 90),
    "savings": (savings, 90),
    "large": (large, 60),
    "lost_numbers": (lost_numbers, 90),
    "saves": (saves, 60),
    "too_little": (too_little, 60),
}
"""By name, with the seconds that each may take on a GPU. The order is that of the page: the cheapest first."""


def run_here(name: str, place: Place) -> Iterator[Row]:
    """One check in this process, the only rank of a group; what it raises is a row, too."""
    check, _ = CHECKS[name]
    try:
        yield from check(place)
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[-1]
        yield Row(name, "an end without an error", f"{type(error).__name__}: {said}"[:70], FAIL)


def run_apart(name: str) -> Iterator[Row]:
    """One check in a process of its own."""
    limit = CHECKS[name][1]
    command = [sys.executable, str(Path(__file__)), "--only", name, "--lines"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            written, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            written, _ = process.communicate()
            yield Row(name, f"an end within {limit} seconds", "none", FAIL)
    yield from (Row(**json.loads(line)) for line in written.splitlines() if line.startswith('{"what"'))
    if process.returncode > 0 or process.returncode < -9:
        yield Row(name, "exit code 0", str(process.returncode), FAIL)


def table(rows: list[Row], *, markdown: bool) -> str:
    """The rows, for people."""
    cells = [("what", "expected", "seen", ""), *((row.what, row.expected, row.seen, row.verdict) for row in rows)]
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in cells]
        return "\n".join([lines[0], "|---|---|---|---|", *lines[1:]])
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def main() -> int:
    """Prints the table; 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), help="these checks alone")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/gpu.md has it")
    parser.add_argument("--lines", action="store_true", help="each row as a line of JSON as it comes, in this process")
    given = parser.parse_args()
    place, started = Place(detect()), monotonic()
    if given.lines:
        with group_of_one(place.device):
            for name in given.only:
                for row in run_here(name, place):
                    print(json.dumps(asdict(row)), flush=True)
        return 0
    # In one group: DeepSpeed keeps the first that it sees.
    with nullcontext() if place.on_gpu else group_of_one(place.device):
        run = run_apart if place.on_gpu else partial(run_here, place=place)
        rows = [row for name in given.only for row in run(name)]
    rows.append(not_run(*NEVER))
    print(table(rows, markdown=given.markdown))
    verdicts = [row.verdict for row in rows]
    where = torch.cuda.get_device_name() if place.on_gpu else "a CPU, in the reduced form"
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in (PASS, FAIL, NOT_RUN))
    print(f"\non {where}: {counts}, in {monotonic() - started:.0f} seconds")
    return int(FAIL in verdicts)


if __name__ == "__main__":
    sys.exit(main())
