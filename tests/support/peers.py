"""Trainers of other libraries beside ours: the same rows in the same batches, twenty steps, every loss."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import SequentialSampler

from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.split import split
from kubetune_trainer.data.task import DataTask
from support.runs_in_one_process import run_of
from support.tiny_models import job_for

ROWS, BATCH, EPOCHS = 50, 10, 4
STEPS = ROWS // BATCH * EPOCHS
RATE, EPSILON = 5e-3, 1e-4
TOLERANCE = 1e-3

ARGUMENTS: dict[str, Any] = {
    "per_device_train_batch_size": BATCH,
    "num_train_epochs": 1,
    "learning_rate": RATE,
    "adam_epsilon": EPSILON,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "logging_steps": 1,
    "dataloader_pin_memory": False,
}
"""Of transformers and of what is built on it: the settings of our job. All epochs are one, of the rows `in_batches`."""


class InOrder:
    """A trainer, told in which order the rows come."""

    train_dataset: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(train_dataset or self.train_dataset)


def as_split(rows: Sequence[Row], task: DataTask) -> list[Row]:
    """The rows in the order in which the training split has them."""
    return split(rows, validation=0, test=0, seed=0, key=task.group, stratum=lambda _: None)["train"]


def in_batches(rows: Sequence[Row]) -> list[Row]:
    """Those of a split in the order in which the job's seed takes them, epoch after epoch."""
    orders = [np.random.default_rng([0, epoch]).permutation(ROWS) for epoch in range(EPOCHS)]
    return [rows[number] for number in np.concatenate(orders)]


def losses_of(peer: Any) -> list[float]:
    """Every loss of one of theirs, once it has trained."""
    peer.train()
    return [entry["loss"] for entry in peer.state.log_history if "loss" in entry]


def our_losses(name: str, folder: Path, rows: Sequence[Mapping[str, Any]], scratch: Path, **task: Any) -> list[float]:
    """Those of a whole run with the model in `folder`; `rows` have the names of the columns, `task` its settings."""
    data = scratch / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = job_for(
        name, folder, task={"type": name, **task},
        dataset={
            "uri": data.as_uri(), "columns": {column: column for column in rows[0]}, "testFraction": 0,
            "validationFraction": 0,
        },
        training={
            "globalBatchSize": BATCH, "microBatchSize": 5, "learningRate": RATE, "epochs": EPOCHS, "maxGradientNorm": 0,
            "schedule": {"type": "Constant"}, "optimizer": {"epsilon": EPSILON},
        },
        output={"uri": (scratch / "out").as_uri()},
    )  # fmt: skip
    published = Path(run_of(job, scratch).artifact.uri.removeprefix("file://")).parent
    lines = [json.loads(line) for line in (published / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["type"] == "step"]
