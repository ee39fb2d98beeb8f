"""Trainings of tiny models, run rank by rank without Ray: what they are asked, and what they came to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open

from kubetune_api.families import FAMILIES
from kubetune_api.job import FineTuneJobSpec, Freeze, Quantization, RegressionSettings, Training
from kubetune_api.job import LoRA as Settings
from kubetune_planner.logits import AT_A_TIME
from kubetune_planner.states import stage_that_runs
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.methods import TrainingMethod
from kubetune_trainer.methods.full import Full
from kubetune_trainer.methods.lora import LoRA
from kubetune_trainer.model.load import LoadedModel, load_model
from kubetune_trainer.model.stored import tensor_digest
from kubetune_trainer.records import EvaluationRecord, StepRecord
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.shown_rows import WrittenAnswer
from kubetune_trainer.tasks.base import TrainingTask
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.tasks.classification import Classification, Labels
from kubetune_trainer.tasks.multi_label import LabelSets, MultiLabelClassification
from kubetune_trainer.tasks.number_metrics import Frame
from kubetune_trainer.tasks.regression import Regression, Scale
from kubetune_trainer.tasks.seq2seq import SequenceToSequence, WrittenTexts
from kubetune_trainer.tasks.tagging import Tagging, Tags
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.exchange import of_rank_0
from kubetune_trainer.training.loop import Loop
from support.tiny_models import (
    PAD,
    VOCABULARY,
    classification_rows,
    completion_rows,
    label_set_rows,
    saved,
    spec_for,
    tag_rows,
    task_for,
    tiny_model,
    tiny_tagger,
    tiny_tokenizer,
    value_rows,
    written_rows,
)

LABELS = ("a", "b", "c")
TAGS = ("O", "B-A", "I-A", "B-B", "I-B")
_RATES = {"Lion": 3e-4, "Muon": 2e-3}
"""Where a sign that rounding turns, or a product in bfloat16, would make more of it than the tolerance."""
BATCH = 10
AGAIN = "activation checkpointing"
OPTIMIZER, WEIGHTS = "offloaded optimizer", "offloaded weights"
CHUNKS = "loss in chunks"
SAVINGS = (AGAIN, OPTIMIZER, WEIGHTS, CHUNKS)
"""What needs less memory and changes no loss."""
_FROM_STAGE = {OPTIMIZER: 1, WEIGHTS: 3}


@dataclass(frozen=True)
class Learned:
    """A task, what its rows and its model are made by, and the outputs of its head."""

    task: TrainingTask
    rows: Callable[..., EncodedSplit]
    space: Any
    outputs: int | None
    """None: the vocabulary."""
    model: Callable[..., Any] = tiny_model


FRAMES = (Frame(1.6, 0.3, 0.2, 3.2), Frame(1.1, 0.5, 0.3, 1.9))
LEARNED = {
    learned.task.name: learned
    for learned in (
        Learned(Classification(), classification_rows, Labels(LABELS), len(LABELS)),
        Learned(MultiLabelClassification(), label_set_rows, LabelSets(LABELS), len(LABELS)),
        Learned(Tagging(), tag_rows, Tags(TAGS), len(TAGS), tiny_tagger),
        Learned(Regression(), value_rows, Scale(FRAMES, RegressionSettings()), len(FRAMES)),
        Learned(CausalLanguageModel(), completion_rows, Vocabulary(), None),
        Learned(SequenceToSequence(), written_rows, WrittenTexts(32), None),
    )
}
"""By name."""


@dataclass(frozen=True)
class Case:
    """A training, and how it is spread."""

    family: str
    task: str = ""
    """What it learns; as its family usually does where nothing is said."""
    rows: int = 53
    """Not divisible by the batch: the last step of an epoch takes in fewer rows."""
    steps: int = 16
    stage: int = 0
    micro: int = BATCH
    bf16: bool = False
    fp16: bool = False
    freeze_embeddings: bool = False
    optimizer: str = "AdamW"
    more: tuple[tuple[str, float], ...] = ()
    """Further fields of `spec.training`."""
    saves: tuple[str, ...] = ()
    """How it needs less memory: see `SAVINGS`."""
    lora: str = ""
    """The variant of LoRA; every weight is trained where nothing is said."""
    quantization: str = ""
    """How the weights beside the adapter are stored, if not in 32 bits."""
    files: str = ""
    """The numbers of the files that the pretrained model is read from, without a head; it is made where nothing is
    said."""
    in_32_bits: bool = False
    """Read in 32 bits, whatever the training computes with."""

    @property
    def method(self) -> TrainingMethod:
        """What is trained."""
        if self.lora:
            bits = Quantization.model_validate({"type": self.quantization}) if self.quantization else None
            return LoRA(Settings.model_validate({"rank": 4, "variant": self.lora}).resolved, bits)
        return Full(Freeze(embeddings=self.freeze_embeddings))

    @property
    def learned(self) -> Learned:
        """The task, and its rows."""
        return LEARNED[self.task or task_for(self.family)]

    @property
    def spec(self) -> FineTuneJobSpec:
        """The settings, without any that would hide a difference."""
        return spec_for(
            self.learned.task.name,
            training={
                "globalBatchSize": BATCH,
                "microBatchSize": self.micro,
                "learningRate": _RATES.get(self.optimizer, 2e-2),
                "optimizer": {"type": self.optimizer, "weightDecay": 0.1},
                "epochs": 1000,
                "maxSteps": self.steps,
                "schedule": {"type": "Linear", "warmupSteps": 2},
                "maxGradientNorm": 0.3,
                "precision": "BF16" if self.bf16 else "FP16" if self.fp16 else "FP32",
                **dict(self.more),
                **({"activationCheckpointing": "Full"} if AGAIN in self.saves else {}),
            },
            zero={
                "offload": {
                    "optimizer": "CPU" if OPTIMIZER in self.saves else "None",
                    "weights": "CPU" if WEIGHTS in self.saves else "None",
                }
            },
            evaluation={"generation": {"maxRows": 11, "maxNewTokens": 6}} if self.writes else {},
        )

    @property
    def writes(self) -> bool:
        """Whether it is also judged by answers that its model writes."""
        usual = self.optimizer == "AdamW" and self.lora in ("", "Standard") and self.more != L1 and self.steps == 16
        return usual and self.learned.task.generation is not None

    @property
    def training(self) -> Training:
        """How it is trained."""
        return self.spec.training

    @property
    def splits(self) -> dict[str, EncodedSplit]:
        """The rows."""
        make = self.learned.rows
        return {"train": make(self.rows), "validation": make(17, seed=1), "test": make(19, seed=2)}

    @property
    def model(self) -> Any:
        """The pretrained model, the same weights each time."""
        learned = self.learned
        model = learned.model(self.family, labels=learned.outputs)
        learned.task.configure(model.config, learned.space)
        return model

    def resolved(self, workers: int) -> ResolvedTraining:
        """How it runs on so many workers."""
        precision = self.training.precision
        assert precision != "Auto"
        return ResolvedTraining(
            stage_that_runs(precision, self.stage),
            precision,
            self.micro,
            workers,
            self.training.peak_learning_rate,
            max_length=32,
            activation_checkpointing="Full" if AGAIN in self.saves else "None",
            offload=self.spec.zero.offload,
        )

    @property
    def how(self) -> str:
        """How it runs, for the name of a test."""
        return ", ".join((f"stage {self.stage}", *(("BF16",) if self.bf16 else ()), *self.saves))

    @property
    def logits_at_a_time(self) -> int:
        """Of a micro-batch with more of them the loss is worked out in chunks."""
        return 5 * VOCABULARY if CHUNKS in self.saves else AT_A_TIME

    @property
    def plain(self) -> "Case":
        """The same training, without what saves memory."""
        return replace(self, saves=())

    @property
    def from_32_bits(self) -> "Case":
        """The same training, of weights that were read in 32 bits."""
        return replace(self, in_32_bits=True)

    @property
    def alone(self) -> "Case":
        """The same training, spread over nothing."""
        return replace(self, stage=0, micro=BATCH, saves=())


BOTH = ("bert", "llama")
TIED = Case("gpt2", micro=4, stage=3, freeze_embeddings=True)
OPTIMIZERS = [
    *(Case("llama", micro=4, stage=stage, optimizer=name) for name, stage in (("Adam", 1), ("SGD", 2), ("Lion", 3))),
    # These need whole matrices.
    *(Case("llama", micro=4, optimizer=name) for name in ("Adafactor", "Muon")),
]
"""Optimizers other than AdamW, each at the stage that it is spread by."""
ADAPTERS = [
    *(Case("llama", micro=4, stage=stage, lora="Standard") for stage in (1, 2, 3)),
    Case("bert", micro=4, stage=3, lora="RsLoRA"),
    Case("gpt2", micro=4, stage=2, lora="DoRA"),
    *(Case("llama", micro=4, stage=stage, lora="Standard", quantization="NF4") for stage in (0, 1, 2)),
    Case("bert", micro=4, stage=1, lora="Standard", quantization="Int8"),
]
"""Trainings of adapters, each beside frozen weights."""
WHOLE = [*dict.fromkeys(Case(case.family, lora="Standard") for case in ADAPTERS if case.quantization)]
"""What those beside quantized weights are compared with."""
QUANTIZED_BF16 = Case("llama", micro=4, stage=2, bf16=True, lora="Standard", quantization="NF4")
L1, LAYERWISE, NOISE = (("l1", 0.2),), (("layerwiseDecay", 0.6),), (("neftuneAlpha", 5.0),)
SPARSE = [
    *(Case("llama", micro=4, stage=stage, more=L1) for stage in range(4)),
    Case("llama", micro=4, stage=3, more=L1, saves=SAVINGS),
]
"""With an L1 penalty."""
SAVING = [
    *(
        Case("llama", steps=4, micro=4, stage=stage, bf16=bf16, saves=saves)
        for bf16 in (False, True)
        # BF16 has no stage 0.
        for stage in range(int(bf16), 4)
        for possible in (tuple(saving for saving in SAVINGS if stage >= _FROM_STAGE.get(saving, 0)),)
        for saves in (*((saving,) for saving in possible if not bf16), possible)
    ),
    # With tied embeddings.
    Case("t5", steps=4, micro=4, stage=3, saves=SAVINGS),
]
"""What needs less memory: each by itself, and all of it."""
SPREAD = {
    1: [*(Case(family, micro=3) for family in BOTH), Case("llama", stage=3)],
    2: [
        *(Case(family, micro=4, stage=stage) for family in BOTH for stage in range(4)),
        TIED,
        *OPTIMIZERS,
        *SPARSE,
        *ADAPTERS,
        Case("bert", micro=4, stage=3, more=LAYERWISE),
        *(Case("t5", micro=4, stage=stage, freeze_embeddings=stage == 3) for stage in (2, 3)),
    ],
    3: [Case("bert", micro=2, stage=2), Case("llama", micro=2, stage=3)],
}
"""Trainings that must come to the same as on one worker, by the number of workers."""
BF16 = {1: [Case(family, bf16=True) for family in BOTH], 2: [Case("llama", micro=4, stage=3, bf16=True)]}
"""The same in bfloat16."""
SPARSE_BF16 = [Case("llama", micro=4, stage=stage, bf16=True, more=L1) for stage in (1, 3)]
NOISY = Case("llama", more=NOISE)
READ = [
    Case("bert", steps=2, micro=4, stage=3, bf16=True, files="bfloat16"),
    Case("llama", steps=2, micro=4, stage=1, bf16=True, files="bfloat16"),
    Case("llama", steps=2, micro=4, stage=2, bf16=True, files="float32"),
    Case("mixtral", steps=2, micro=4, stage=3, bf16=True, files="float16"),
    Case("llama", steps=2, micro=4, files="bfloat16"),
    Case("bert", steps=2, micro=4, stage=3, bf16=True, lora="Standard", files="bfloat16"),
    Case("llama", steps=2, micro=4, stage=3, lora="Standard", files="bfloat16"),
    Case("gpt2", steps=2, micro=4, stage=2, bf16=True, lora="DoRA", files="bfloat16"),
    Case("llama", steps=2, micro=4, stage=2, bf16=True, lora="Standard", quantization="NF4", files="float32"),
]
"""Trainings of models that are read from files, in numbers that the training may not have."""
WORDS = Case("distilbert", task="TokenClassification", rows=50, steps=50, micro=4)
SETS = Case("bert", task="MultiLabelClassification", rows=50, steps=50, micro=4)
NUMBERS = Case("bert", task="SequenceRegression", rows=50, steps=50, micro=4)
BESIDE_PEFT = [
    Case("llama", rows=50, steps=20, micro=4, lora="Standard", quantization=name) for name in ("", "NF4", "Int8")
]
"""Twenty steps for the comparison with peft, beside plain weights and a model that transformers quantizes."""
LONG = [
    *(Case(family, rows=50, steps=50, micro=4) for family in BOTH),
    *(Case(family, rows=50, steps=20, micro=4) for family in ("t5", "bart", "mbart")),
    WORDS,
    NUMBERS,
    SETS,
]
"""Fifty or twenty steps of whole batches, for the comparison with transformers.Trainer."""


@dataclass(frozen=True)
class Trained:
    """What came of it, as one rank saw it."""

    losses: list[float]
    """Of every step."""
    learning_rates: list[float]
    gradient_norms: list[float]
    evaluations: list[dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    """Of the last evaluation."""
    answers: list[tuple[WrittenAnswer, ...]]
    """Those of every evaluation in which the model wrote some."""
    weights: dict[str, np.ndarray]
    """Rank 0 only."""
    written: frozenset[str]
    """The tensors of the saved file; rank 0 only."""
    buckets: int
    """How often DeepSpeed has copied gradients of stage 0, or of stage 1 in BF16, into a bucket."""
    quantized: tuple[dict[str, str], dict[str, str]]
    """The digests of quantized numbers and of their constants, before the first step and after the last."""


def train_each(cases: list[Case], device: Device = Device("cpu")) -> dict[Case, Trained]:  # noqa: B008 - frozen
    """Trains one case after the other; every rank of a group calls it."""
    return {case: _train(case, device) for case in cases}


def _train(case: Case, device: Device) -> Trained:
    splits, training = case.splits, case.training
    plan = BatchPlan(
        rows=case.rows,
        global_batch_size=BATCH,
        micro_batch_size=case.micro,
        workers=dist.get_world_size(),
        epochs=training.epochs,
        max_steps=case.steps,
    )
    method, precision = case.method, case.resolved(plan.workers).precision
    loaded = _read(case) if case.files else _made(case)
    model = loaded.model
    method.attach(loaded, precision=precision, reach=lambda: 1.0)
    engine = build_engine(
        model, training, plan, case.resolved(plan.workers), device, logits_at_a_time=case.logits_at_a_time
    )
    before, buckets = _quantized(model), _counted(engine, "allreduce_bucket")
    records: list[StepRecord | EvaluationRecord] = []
    learned = case.learned
    Loop(engine, learned.task, splits, learned.space, case.spec, plan, PAD, records.append, tiny_tokenizer()).run()
    state = dict(method.tensors(engine))
    weights = {name: tensor.float().numpy() for name, tensor in state.items()}
    written = _written(model, state) if state and not case.lora else frozenset()
    quantized = before, _quantized(model)
    engine.destroy()
    steps = [record for record in records if isinstance(record, StepRecord)]
    evaluations = [record for record in records if isinstance(record, EvaluationRecord)]
    return Trained(
        losses=[step.loss for step in steps],
        learning_rates=[step.learning_rate for step in steps],
        gradient_norms=[step.gradient_norm for step in steps],
        evaluations=[record.metrics for record in evaluations],
        intervals=dict(evaluations[-1].intervals),
        answers=[record.written for record in evaluations if record.written],
        weights=weights,
        written=written,
        buckets=len(buckets),
        quantized=quantized,
    )


def _counted(owner: Any, name: str) -> list[None]:
    """One for each call of the method from now on."""
    method, calls = getattr(owner, name), list[None]()

    def counted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(None)
        return method(*arguments, **keywords)

    setattr(owner, name, counted)
    return calls


def _made(case: Case) -> LoadedModel:
    loaded = LoadedModel(case.model, FAMILIES[case.family], {}, None, (), Path(), case.spec.model)
    # An adapter's first values are drawn: alike on every rank.
    torch.manual_seed(0)
    return loaded


def _read(case: Case) -> LoadedModel:
    learned, method = case.learned, case.method
    outputs = None if learned.outputs is None else 0
    base = tiny_model(case.family, labels=outputs).to(getattr(torch, case.files))
    dtype = torch.float32 if case.in_32_bits else method.loads_as(case.resolved(1).precision)
    with TemporaryDirectory() as scratch:
        folder = of_rank_0(lambda: saved(base, Path(scratch)))
        torch.manual_seed(0)
        loaded = load_model(folder, case.spec, learned.task, learned.space, tiny_tokenizer(), dtype=dtype)
        dist.barrier()
        return loaded


def _quantized(model: Any) -> dict[str, str]:
    state = model.state_dict()
    of_bytes = {name for name, values in state.items() if values.dtype in (torch.uint8, torch.int8)}
    layers = {name.rpartition(".weight")[0] for name in of_bytes}
    return {name: tensor_digest(state[name]) for name in state if any(name.startswith(f"{each}.") for each in layers)}


def _written(model: Any, state: dict[str, Any]) -> frozenset[str]:
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder, state_dict=state)
        with safe_open(Path(folder) / "model.safetensors", framework="pt") as file:
            return frozenset(file.keys())
