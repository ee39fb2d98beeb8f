"""What padding costs: kubetune's loop, with rows joined, and `transformers.Trainer` as it comes.

python benchmarks/padding.py            # about two minutes on one core
python benchmarks/padding.py --steps 4

One process on one thread. Both take the same rows in turn, one optimizer step of 32 rows each (`Trainer` four of
8, its default), so that a machine that slows down slows both; each twice, and the faster counts. The rows are
cut out of the reviews' tokens, with lengths that are drawn: log-normal, a median of 40 tokens, 512 at most. MiniLM with
a new head, all weights trained, without dropout, in 32 bits.
"""

import argparse
import bz2
import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.tasks.classification import Classification, ClassTargets, Labels
from kubetune_trainer.training.batches import BatchPlan, Rows
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.device import Device
from kubetune_trainer.training.engine import build_engine
from kubetune_trainer.training.loop import Loop

ASSETS = Path(__file__).resolve().parent.parent / ".assets"
BATCH, OF_TRAINER = 32, 8
MEDIAN, SPREAD, LONGEST = 40, 1.0, 512
RATE = 2e-5
Step = Callable[[int, Rows], object]


def main() -> None:
    """Prints the table."""
    steps = _arguments().steps
    torch.set_num_threads(1)
    os.environ.update(LOCAL_RANK="0", DS_ACCELERATOR="cpu")
    dist.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    split = varied_rows(BATCH * (steps + 1))
    plan = BatchPlan(split.rows, BATCH, BATCH, 1, epochs=1)
    batches = [*plan.global_batches(0, 0)]
    systems = {"kubetune": _ours(split), "Trainer": _theirs(split, steps)}
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for number, batch in enumerate(batches):
        for name, steps_of in systems.items():
            took = min(_seconds(steps_of, number + 1, batch) for _ in range(2))
            if number:
                seconds[name].append(took)
    _print(split, batches[1:], seconds)


def _seconds(step: Step, number: int, batch: Rows) -> float:
    begun = process_time()
    step(number, batch)
    return process_time() - begun


def varied_rows(rows: int) -> EncodedSplit:
    """Cut out of the reviews, one behind another, each between the tokens that begin and end a text."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(MEDIAN), SPREAD, rows), 4, LONGEST).astype(np.int64)
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "models" / "minilm")
    with bz2.open(ASSETS / "data" / "reviews.csv.bz2", "rt", encoding="utf-8") as file:
        stream = _tokens(tokenizer, csv.reader(file))
        texts = [
            np.array([tokenizer.cls_token_id, *(next(stream) for _ in range(length - 2)), tokenizer.sep_token_id])
            for length in lengths
        ]
    classes = random.integers(0, 2, rows).astype(np.int32)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return EncodedSplit(np.concatenate(texts).astype(np.int32), None, offsets, ClassTargets(classes))


def _tokens(tokenizer: Any, rows: Any) -> Iterator[int]:
    while True:
        for row in rows:
            yield from tokenizer(max(row, key=len), add_special_tokens=False)["input_ids"]


def _model() -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(
        ASSETS / "models" / "minilm", num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


def _ours(split: EncodedSplit) -> Step:
    spec, plan = _spec(), BatchPlan(split.rows, BATCH, BATCH, 1, epochs=1)
    resolved = ResolvedTraining(0, "FP32", BATCH, 1, RATE, LONGEST)
    engine = build_engine(_model(), spec.training, plan, resolved, Device("cpu"))
    engine.train()
    task, space = Classification(), Labels(("no", "yes"))
    return Loop(engine, task, {"train": split}, space, spec, plan, 0, lambda _: None)._take_step


def _spec() -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate(
        {
            "model": {"uri": "file:///minilm"},
            "task": {"type": "SequenceClassification"},
            "dataset": {"uri": "file:///rows.csv", "columns": {"text": "text", "label": "label"}},
            "training": {"learningRate": RATE, "precision": "FP32"},
            "output": {"uri": "file:///out"},
        }
    ).resolved


def _theirs(split: EncodedSplit, steps: int) -> Step:
    """Passes and steps as its loop takes them, without what that does beside."""
    settings = TrainingArguments(output_dir="unused", learning_rate=RATE, use_cpu=True, report_to=[])
    trainer = Trainer(model=_model().train(), args=settings)
    trainer.create_optimizer_and_scheduler(steps * BATCH // settings.per_device_train_batch_size)
    trainer.current_gradient_accumulation_steps = settings.gradient_accumulation_steps
    model, optimizer, schedule = trainer.model, trainer.optimizer, trainer.lr_scheduler

    def take(_: int, batch: Rows) -> None:
        for rows in np.array_split(batch, BATCH // settings.per_device_train_batch_size):
            given = collate(split, rows, 0, torch.device("cpu"))
            trainer.training_step(model, {**given.inputs, "labels": given.targets})
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            model.zero_grad()

    return take


def _print(split: EncodedSplit, batches: list[Rows], seconds: dict[str, list[float]]) -> None:
    tokens = sum(int(split.lengths[batch].sum()) for batch in batches)
    computed = {
        "kubetune": tokens,
        "Trainer": sum(_padded(split.lengths, batch) for batch in batches),
    }
    mean, longest = tokens / len(batches) / BATCH, split.lengths.max()
    print(f"{len(batches)} steps, {tokens:,} tokens, {mean:.0f} a row, {longest} at most")
    print("| | tokens per second of a CPU | padding | ratio |\n|---|---|---|---|")
    slowest = sum(seconds["Trainer"])
    for name, took in seconds.items():
        padding = 1 - tokens / computed[name]
        print(f"| {name} | {tokens / sum(took):,.0f} | {padding:.0%} | {slowest / sum(took):.2f} |")


def _padded(lengths: Rows, batch: Rows) -> int:
    """The tokens of the passes that take these rows as they come, each padded to its longest."""
    return sum(len(share) * int(lengths[share].max()) for share in np.array_split(batch, BATCH // OF_TRAINER))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="of 32 rows, beside one that is not counted")
    return parser.parse_args()


if __name__ == "__main__":
    main()
