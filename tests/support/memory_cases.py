"""Trainings whose memory is measured: real steps of DeepSpeed on CPUs, and what they took of the machine's memory."""

import ctypes
import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    LlamaConfig,
    PretrainedConfig,
)

from kubetune_api.families import FAMILIES
from kubetune_api.job import FineTuneJobSpec, Freeze
from kubetune_planner.memory import estimate
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision, stage_that_runs
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.methods.freeze import freeze
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.causal import TokenTargets, Vocabulary
from kubetune_trainer.tasks.classification import ClassTargets, Labels
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop
from support.ranks import run_ranks
from support.tiny_models import PAD, spec_for

WORKERS = 2
STEPS = 2
"""AdamW's states come to be in the first step; the second has them beside everything else."""
_MMAP_THRESHOLD = -3
"""glibc's `M_MMAP_THRESHOLD`: from this size on, memory that is freed goes back to the system at once."""


@dataclass(frozen=True)
class MemoryCase:
    """A training, and how it is spread."""

    family: str = "bert"
    layers: int = 2
    vocabulary: int = 2000
    rows: int = 1
    """Of a micro-batch."""
    passes: int = 1
    """Of a step."""
    length: int = 8
    stage: int = 0
    bf16: bool = False
    frozen: bool = False
    """The embeddings and all layers but one."""
    again: bool = False
    """Whether layers are computed again in the backward pass."""
    offloads: bool = False
    """The optimizer, which on a CPU is in the same memory, with what DeepSpeed adds there."""

    @property
    def name(self) -> str:
        """What a report calls it."""
        parts = [self.family, f"stage {self.stage}", "16 bits" if self.bf16 else "32 bits"]
        parts += [f"{self.rows} rows of {self.length}", f"{self.passes} passes", f"{self.vocabulary} words"]
        more = ["frozen"] * self.frozen + ["computed again"] * self.again + ["offloaded"] * self.offloads
        return ", ".join([*parts, *more])

    @property
    def smaller(self) -> "MemoryCase":
        """The training to compare with: fewer and shorter rows, or fewer layers where the rows are the least."""
        return replace(self, layers=2) if self.rows == 1 else replace(self, rows=1, length=8)

    @property
    def config(self) -> PretrainedConfig:
        """A model of layers with 3 million parameters each."""
        sizes = {
            "vocab_size": self.vocabulary,
            "hidden_size": 512,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 8,
        }
        if self.family == "llama":
            return LlamaConfig(**sizes, intermediate_size=1408, max_position_embeddings=512, use_cache=False)
        return BertConfig(
            **sizes, intermediate_size=2048, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=PAD
        )

    def spec(self, workers: int) -> FineTuneJobSpec:
        """The job, as the planner reads it."""
        spec = spec_for(
            "CausalLM" if self.family == "llama" else "SequenceClassification",
            training={
                "globalBatchSize": self.rows * self.passes * workers,
                "microBatchSize": self.rows,
                "precision": "BF16" if self.bf16 else "FP32",
                "maxSteps": STEPS,
                "activationCheckpointing": "Full" if self.again else "None",
            },
            zero={"offload": {"optimizer": "CPU"}} if self.offloads else {},
            method={"freeze": {"embeddings": self.frozen, "bottomLayers": self.layers - 1 if self.frozen else 0}},
        )
        return spec.model_copy(update={"task": spec.task.model_copy(update={"max_length": self.length})}).resolved

    def split(self, workers: int) -> EncodedSplit:
        """Rows for every step, as long as the job allows: no shorter one is padded in families that join rows."""
        lengths = np.full(self.rows * self.passes * workers * STEPS, self.length)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = np.random.default_rng(0).integers(1, self.vocabulary, offsets[-1]).astype(np.int32)
        if self.family == "llama":
            return EncodedSplit(tokens, None, offsets, TokenTargets(~np.isin(np.arange(len(tokens)), offsets)))
        return EncodedSplit(tokens, None, offsets, ClassTargets((np.arange(len(lengths)) % 2).astype(np.int32)))


STATES = (
    MemoryCase(layers=6),
    MemoryCase(layers=6, stage=1, bf16=True),
    MemoryCase(layers=6, stage=2, passes=2),
    MemoryCase(layers=6, stage=3, bf16=True, passes=2),
)
"""One of each stage."""
MORE = (
    MemoryCase(layers=6, stage=1, passes=2),
    MemoryCase(layers=6, stage=2),
    MemoryCase(layers=6, stage=2, bf16=True, passes=2),
    MemoryCase(layers=6, stage=3),
    MemoryCase(rows=16, length=128, passes=2),
    MemoryCase("llama", rows=16, length=128, passes=2),
)
"""The other precision of each, other passes, layers that all train: `make bench-memory` measures them too."""
# In the second pass of a step, gradients, states and activations are there at once. Only at stage 0: on a CPU, the
# buckets of higher stages fill while the activations go, and the planner adds the two up.
ACTIVATIONS = (
    MemoryCase(rows=8, length=128, passes=2, layers=4, frozen=True),
    MemoryCase("llama", rows=4, length=128, passes=2, vocabulary=16000),
)
SAVING = (
    MemoryCase("llama", rows=8, length=128, passes=2, vocabulary=16000, again=True),
    MemoryCase(layers=6, stage=2, passes=2, offloads=True),
)
"""What needs less memory of an accelerator."""


@dataclass(frozen=True)
class Difference:
    """How much more memory a training takes at its peak than a smaller one, in bytes."""

    estimated: int
    measured: int

    @property
    def error(self) -> float:
        """By how much the planner is above what was measured, as a share of it."""
        return self.estimated / self.measured - 1


def differences(cases: Sequence[MemoryCase]) -> dict[MemoryCase, Difference]:
    """Trains each case, and the smaller one, on two workers; what the first of them took."""
    both = [found for case in cases for found in (case.smaller, case)]
    peaks: dict[MemoryCase, int] = run_ranks(peaks_of, WORKERS, list(dict.fromkeys(both)))[0]
    return {
        case: Difference(_estimated(case) - _estimated(case.smaller), peaks[case] - peaks[case.smaller])
        for case in cases
    }


def _estimated(case: MemoryCase) -> int:
    return estimate(
        ModelShape.from_config(case.config.to_dict()),
        case.spec(WORKERS),
        stage=case.stage,
        workers=WORKERS,
        micro_batch_size=case.rows,
        precision="BF16" if case.bf16 else "FP32",
        device="cpu",
    ).total


def peaks_of(cases: list[MemoryCase]) -> dict[MemoryCase, int]:
    """Trains one case after the other; the bytes that each took at its peak. Every rank of a group calls it."""
    ctypes.CDLL("libc.so.6").mallopt(_MMAP_THRESHOLD, 1 << 16)
    for kind in dict.fromkeys(replace(case, layers=1, rows=1, passes=1, length=8) for case in cases):
        _peak_of(kind)  # what is loaded at the first training of a kind is no case's
    return {case: _peak_of(case) for case in cases}


def _peak_of(case: MemoryCase) -> int:
    _let_go()
    before = _resident("VmRSS")
    engine = _trained(case)
    peak = _resident("VmHWM")
    engine.destroy()
    return peak - before


def _let_go() -> None:
    """Frees what is left of the case before, so that it does not go in the middle of this one."""
    for _ in range(4):
        dist.barrier()  # gloo's threads hold the tensors of their last work until they get another
        gc.collect()


def _trained(case: MemoryCase) -> Any:
    workers = dist.get_world_size()
    spec, split = case.spec(workers), case.split(workers)
    training = spec.training
    torch.manual_seed(0)
    loader = AutoModelForCausalLM if case.family == "llama" else AutoModelForSequenceClassification
    model = loader.from_config(case.config)
    wanted: Freeze = spec.method.freeze
    freeze(model, getattr(model, model.base_model_prefix), FAMILIES[case.family], wanted)
    plan = BatchPlan(
        rows=split.rows,
        global_batch_size=training.global_batch_size,
        micro_batch_size=case.rows,
        workers=workers,
        epochs=STEPS,
        max_steps=STEPS,
    )
    precision: Precision = "BF16" if training.precision == "BF16" else "FP32"
    stage = stage_that_runs(precision, case.stage)
    resolved = ResolvedTraining(
        stage,
        precision,
        case.rows,
        workers,
        training.peak_learning_rate,
        max_length=case.length,
        activation_checkpointing="Full" if case.again else "None",
        offload=spec.zero.offload,
    )
    engine = build_engine(model, training, plan, resolved, Device("cpu"))
    # A planner's peak is one of the training; what building the engine takes is less on an accelerator, and is gone.
    Path("/proc/self/clear_refs").write_text("5")
    space = Vocabulary() if case.family == "llama" else Labels(("a", "b"))
    Loop(engine, task_of(spec), {"train": split}, space, spec, plan, PAD, _ignore).run()
    return engine


def _ignore(_: Any) -> None:
    """No one reads the records."""


def _resident(field: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at the peak since it was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
