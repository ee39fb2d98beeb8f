"""One of the others as its users write it, in a process of its own: `speed_peers.py SYSTEM REQUEST.json RESULT.json`.

Nothing of kubetune is imported here: what they need to start is theirs.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

Request = dict[str, Any]


class Told(TrainerCallback):
    """When the first step began and each one ended, what went through the model, and what each step lost."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.ends: list[float] = []
        self.losses: list[float] = []
        self.tokens: list[int] = []
        self.places = 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Of transformers."""
        self.first = self.first or time.time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Of transformers."""
        self.ends.append(time.time())

    def takes(self, inputs: dict[str, torch.Tensor]) -> None:
        """A batch on its way to the model."""
        mask, places = inputs.get("attention_mask"), inputs["input_ids"].numel()
        self.places += places
        self.tokens.append(places if mask is None else int(mask.sum()))


class Watched:
    """A trainer that tells; `in_order`: it takes the rows as they come."""

    told: Told
    in_order = True
    train_dataset: Any

    def _get_train_sampler(self, *arguments: Any) -> Any:
        if self.in_order:
            return SequentialSampler(self.train_dataset)
        return super()._get_train_sampler(*arguments)  # type: ignore[misc]

    def training_step(self, model: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        """Of transformers."""
        self.told.takes(inputs)
        loss = super().training_step(model, inputs, *arguments, **keywords)  # type: ignore[misc]
        self.told.losses.append(float(loss))
        return loss


class WatchedTrainer(Watched, Trainer):
    """Of transformers."""


def main(system: str, request_file: Path, result_file: Path) -> None:
    """Trains, and writes what it came to."""
    request = json.loads(request_file.read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in Path(request["rows"]).read_text(encoding="utf-8").splitlines()]
    make = packed if system.startswith("TRL") else plain
    peer = make(request, rows, system)
    told = peer.told
    peer.add_callback(told)
    peer.train()
    result = {
        "first": told.first, "ends": told.ends, "losses": told.losses, "tokens": told.tokens,
        "padding": 1 - sum(told.tokens) / told.places, "same_rows": peer.in_order and make is plain,
    }  # fmt: skip
    result_file.write_text(json.dumps(result), encoding="utf-8")


def plain(request: Request, rows: list[dict[str, Any]], system: str) -> Any:
    """`transformers.Trainer`."""
    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    grouped = "grouped" in system
    if request["classifies"]:
        collator: Any = DataCollatorWithPadding(tokenizer)
    elif "without padding" in system:
        collator = DataCollatorWithFlattening()
    else:
        collator = DataCollatorForSeq2Seq(tokenizer)
    settings = TrainingArguments(
        per_device_train_batch_size=request["batch"],
        bf16="BF16" in system,
        train_sampling_strategy="group_by_length" if grouped else "random",
        **arguments(request),
    )
    kept = Told()
    peer = WatchedTrainer(
        model=model_of(request),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        data_collator=collator,
        processing_class=tokenizer,
    )
    peer.told, peer.in_order = kept, not grouped
    return peer


def packed(request: Request, rows: list[dict[str, Any]], system: str) -> Any:
    """TRL's SFTTrainer, with as many tokens in a step as the others have on average."""
    from trl import SFTConfig, SFTTrainer

    class WatchedSFT(Watched, SFTTrainer):
        """Of TRL."""

    settings = SFTConfig(
        per_device_train_batch_size=1,
        packing=True,
        max_length=request["tokens_of_a_batch"],
        bf16="BF16" in system,
        gradient_checkpointing=False,
        **arguments(request),
    )
    peer = WatchedSFT(
        model=model_of(request),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(request["model"]),
    )
    peer.told = Told()
    return peer


def arguments(request: Request) -> dict[str, Any]:
    """What is the same for all of them."""
    return {
        "output_dir": request["out"],
        "max_steps": request["steps"],
        "learning_rate": request["learning_rate"],
        "lr_scheduler_type": "linear",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def model_of(request: Request) -> Any:
    """With the same head and the same frozen weights, or with an adapter whose values are drawn alike."""
    kind = AutoModelForSequenceClassification if request["classifies"] else AutoModelForCausalLM
    model = kind.from_pretrained(request["model"], dtype=torch.float32)
    if request["method"]["type"] == "LoRA":
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        rank = request["method"]["lora"]["rank"]
        adapted = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        return get_peft_model(model, adapted)
    frozen = set(request["frozen"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return model


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
