"""What `speed.py` gives to every system: rows of the examples, encoded once, and a model without dropout."""

import bz2
import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from peers import job_of

from kubetune_api.job import Model
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.methods import method_of
from kubetune_trainer.model.load import load_model, load_tokenizer
from kubetune_trainer.model.source import pretrained_model
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.tasks import language_model_class, task_of
from kubetune_trainer.training.batches import BatchPlan, split_batch
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.joined import joins_rows
from kubetune_trainer.training.schedule import sum_of_rates

if TYPE_CHECKING:
    from speed import Workload

ASSETS = Path(__file__).resolve().parent.parent / ".assets"
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout")


@dataclass(frozen=True)
class Prepared:
    """The same for every system."""

    model: Path
    """The pretrained one, as kubetune gets it."""
    headed: Path
    """The same with the new head that kubetune gives it, for the others."""
    frozen: list[str]
    """Parameters that are not trained."""
    rows: Path
    """As kubetune reads them."""
    in_order: Path
    """As it takes them through the model: one line for each row, with its tokens and what is learned of them."""
    tokens_of_a_batch: int
    """On average."""
    padding: Callable[[int], float]
    """The share of what kubetune takes through the model's layers that is padding, by the number of workers."""


def prepared(workload: "Workload", folder: Path, steps: int) -> Prepared:
    """As many rows as the steps take, each once, and some to spare: cleaning drops those that are nearly alike."""
    model, wanted = _model(workload.model, folder), steps * workload.batch
    rows = folder / ("rows.csv" if "label" in workload.columns else "rows.jsonl")
    _write_rows(rows, wanted * 5 // 4)
    manifest = folder / "job.json"
    manifest.write_text(json.dumps(workload.job(model, rows, steps, folder, {})), encoding="utf-8")
    spec = job_of(manifest, []).spec
    task, tokenizer = task_of(spec), load_tokenizer(model)
    files = {"train": fetch_dataset(spec.dataset.uri, spec.dataset.revision, folder / "cache")}
    data = prepare(task, spec, files, tokenizer, spec.max_length)
    split, plan_of = data.splits["train"], partial(_plan, spec, data.splits["train"].rows)
    order = np.concatenate([*islice(plan_of(1).global_batches(0, spec.training.seed), steps)])
    assert len(order) == wanted, "cleaning has dropped more rows than there were to spare"
    _write_in_order(folder / "in-order.jsonl", split, order, classifies="label" in workload.columns)
    torch.manual_seed(spec.training.seed)
    loaded = load_model(model, spec, task, data.space, tokenizer)
    loaded.model.save_pretrained(folder / "headed")
    tokenizer.save_pretrained(folder / "headed")
    method_of(spec.method).attach(loaded, precision="FP32", reach=partial(sum_of_rates, spec.training, steps))
    named = loaded.model.named_parameters()
    return Prepared(
        model,
        folder / "headed",
        [name for name, parameter in named if not parameter.requires_grad],
        rows,
        folder / "in-order.jsonl",
        int(split.lengths[order].sum() / steps),
        lambda workers: 0.0 if joins_rows(loaded.model) else _padding(split, plan_of(workers), order, tokenizer),
    )


def _model(name: str, folder: Path) -> Path:
    """The asset in Hugging Face format, without dropout."""
    found = pretrained_model(
        Model.model_validate({"uri": (ASSETS / "models" / name).as_uri()}), folder / "cache", language_model_class()
    )
    model = folder / "model"
    shutil.copytree(found.folder, model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config.update({dropout: 0.0 for dropout in _DROPOUTS if dropout in config})
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return model


def _write_rows(path: Path, wanted: int) -> None:
    """Rows of the examples, no two alike, drawn by chance."""
    random = np.random.default_rng(0)
    if path.suffix == ".csv":
        with bz2.open(ASSETS / "data" / "reviews.csv.bz2", "rt", encoding="utf-8", newline="") as file:
            reviews = {row["text"].strip(): row["category"] for row in csv.DictReader(file)}
        kept = [(text, label) for text, label in reviews.items() if label in ("fresh", "rotten") and len(text) > 8]
        with path.open("w", encoding="utf-8", newline="") as out:
            chosen = random.choice(len(kept), wanted, replace=False)
            csv.writer(out).writerows([("text", "label"), *(kept[number] for number in chosen)])
        return
    lines = (ASSETS / "data" / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = {(row["prompt"], row["completion"]) for row in map(json.loads, lines)}
    each = [{"prompt": prompt, "completion": completion} for prompt, completion in sorted(pairs)]
    chosen = random.choice(len(each), wanted, replace=False)
    path.write_text("".join(json.dumps(each[number]) + "\n" for number in chosen), encoding="utf-8")


def _plan(spec: Any, rows: int, workers: int) -> BatchPlan:
    training = spec.training
    return BatchPlan(rows, training.global_batch_size, training.micro_batch, workers, training.epochs)


def _write_in_order(path: Path, split: EncodedSplit, order: Any, *, classifies: bool) -> None:
    with path.open("w", encoding="utf-8") as out:
        for row in order:
            tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]].tolist()
            found = split.targets.padded(split, np.array([row]), len(tokens))[0]
            out.write(json.dumps({"input_ids": tokens, "labels": int(found) if classifies else found.tolist()}) + "\n")


def _padding(split: EncodedSplit, plan: BatchPlan, order: NDArray[np.int64], tokenizer: Any) -> float:
    """Of all batches, as the loop cuts and puts them together."""
    there = 0
    for batch in order.reshape(-1, plan.global_batch_size):
        for shares in split_batch(batch, split.longest[batch], plan.accumulation_steps, plan.workers):
            micros = (collate(split, share, tokenizer.pad_token_id, torch.device("cpu")) for share in shares)
            there += sum(micro.inputs["input_ids"].numel() for micro in micros)
    return 1 - int(split.lengths[order].sum()) / there
